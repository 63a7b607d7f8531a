//! Which phrase was meant.
//!
//! Each phrase is laid over the text where it fits best (Sellers: an alignment that may begin and end anywhere in the text), with
//! dear and cheap differences. What comes of it is a score between 0 and 100 and whether all differences were of the cheap kind
//! (the same sound, a plural, a filler). A match inside a longer one of another meaning does not count: who says "cancel my
//! order" does not mean "order". A match behind "not" does not count.
//!
//! Cost: phrases that share no sound with the text are passed over by comparing 64 bits; the others cost their length times the
//! text's, both bounded.

use std::sync::Arc;

use super::words::{Word, words};
use super::{Speech, language_of, lists};
use crate::lang::Lang;
use crate::limits;

/// What a phrase means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// As if that key had been pressed.
    Key(char),
    /// A person.
    Person,
    /// To hear it again.
    Again,
    /// Another language.
    Speak(Lang),
    /// Nothing: it only keeps a part of itself from meaning something.
    Nothing,
}

/// A phrase, ready to be compared.
#[derive(Clone, Debug)]
pub(crate) struct Phrase {
    pub(crate) meaning: Meaning,
    pub(crate) text: Arc<str>,
    words: Vec<Word>,
    /// The sum of the words' weights: 100 each, a filler 10.
    weight: u32,
    bits: u64,
}

/// Why a text is no phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPhrase {
    /// Nothing but marks and fillers.
    Empty,
    /// More than [`limits::PHRASE_WORDS_MAX`] words.
    Long,
}

impl Phrase {
    pub(crate) fn new(meaning: Meaning, text: &str) -> Result<Self, NoPhrase> {
        let mut words = words(text);
        if words.len() > limits::PHRASE_WORDS_MAX || text.chars().count() > limits::SAID_CHARS_MAX {
            return Err(NoPhrase::Long);
        }
        if words.is_empty() {
            return Err(NoPhrase::Empty);
        }
        if words.iter().all(|word| word.filler) {
            // Of a plan's own words "need" or "办理" may be meant; of one sign nobody knows.
            if words.len() < 2 && words[0].text.chars().count() < 3 {
                return Err(NoPhrase::Empty);
            }
            words.iter_mut().for_each(|word| word.filler = false);
        }
        let weight = words.iter().map(weight).sum();
        let bits = words.iter().filter(|word| !word.filler).fold(0, |bits, word| bits | word.bits());
        Ok(Self { meaning, text: text.into(), words, weight, bits })
    }

    /// The words that carry meaning. Phrases with the same ones are the same.
    pub(crate) fn spelt(&self) -> String {
        self.part(0..usize::MAX, |word| word.text.clone())
    }

    /// How they sound. Phrases with the same sound cannot be told apart by ear.
    pub(crate) fn sound(&self) -> String {
        self.part(0..usize::MAX, Word::sound)
    }

    /// Every shorter run of them, spelt: what another phrase may be that stands in this one.
    pub(crate) fn parts(&self) -> Vec<String> {
        let count = self.words.iter().filter(|word| !word.filler).count();
        let runs = (0..count).flat_map(|from| (from + 1..=count).map(move |to| from..to));
        runs.filter(|run| run.len() < count).map(|run| self.part(run, |word| word.text.clone())).collect()
    }

    fn part(&self, run: std::ops::Range<usize>, name: impl Fn(&Word) -> String) -> String {
        let words = self.words.iter().filter(|word| !word.filler).skip(run.start).take(run.end - run.start);
        words.map(name).collect::<Vec<_>>().join(" ")
    }
}

fn weight(word: &Word) -> u32 {
    if word.filler { 10 } else { 100 }
}

/// Where a phrase was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    meaning: Meaning,
    /// 0 to 100.
    score: u32,
    /// Every difference was of the cheap kind.
    sure: bool,
    begin: usize,
    end: usize,
}

/// What was made of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Understood {
    /// Taken.
    Sure(Meaning),
    /// Likely; to be asked back.
    Maybe(Meaning),
    /// Not understood.
    No,
}

/// From which score on something is taken, and from which it is asked back, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thresholds {
    pub(crate) accept: u8,
    pub(crate) confirm: u8,
}

/// The phrases of one state.
#[derive(Clone, Debug, Default)]
pub(crate) struct PhraseBook {
    pub(crate) phrases: Vec<Phrase>,
}

/// Two scores nearer than this are no difference.
const MARGIN: u32 = 8;
/// Worse alignments are no matches.
const LIKENESS_MIN: u32 = 60;
/// Of the words that carry meaning, in percent, "again" and a language must be this many: who says "what is my order" wants
/// no repetition.
const WHOLE: u32 = 60;

impl PhraseBook {
    /// What was meant. `more`: phrases that count besides the book's own, such as the plan's words for a person.
    pub(crate) fn understand(&self, said: &Speech, more: &[Phrase], thresholds: Thresholds) -> Understood {
        let confidence = u32::from(said.confidence);
        let mut found = self.matches(said, more);
        found.retain(|one| one.meaning != Meaning::Nothing);
        let Some(best) = found.first().copied() else { return Understood::No };
        let score = best.score.min(confidence);
        let rival = found.iter().skip(1).find(|other| other.meaning != best.meaning).copied();
        let close = rival.filter(|other| other.score + MARGIN > best.score);
        // A person is never wrong: who is sent to one by mistake has lost nothing.
        let person = best.meaning == Meaning::Person || close.is_some_and(|other| other.meaning == Meaning::Person);
        if person {
            return if score >= u32::from(thresholds.confirm) {
                Understood::Sure(Meaning::Person)
            } else {
                Understood::No
            };
        }
        match score {
            score if score >= u32::from(thresholds.accept) && best.sure && close.is_none() => {
                Understood::Sure(best.meaning)
            }
            score if score >= u32::from(thresholds.confirm) => Understood::Maybe(best.meaning),
            _ => Understood::No,
        }
    }

    /// Every match that counts, the best of each meaning, the best first.
    fn matches(&self, said: &Speech, more: &[Phrase]) -> Vec<Found> {
        let bits = said.words.iter().fold(0, |bits, word| bits | word.bits());
        let content = said.words.iter().filter(|word| !word.filler).count();
        let mut rows = Rows::default();
        let mut all: Vec<Found> = Vec::new();
        for phrase in self.phrases.iter().chain(more).chain(lists::everywhere()) {
            let common = (phrase.bits & bits).count_ones();
            if common * 2 < phrase.bits.count_ones() {
                continue;
            }
            all.extend(rows.lay(phrase, &said.words, content).filter(|one| {
                let whole = matches!(one.meaning, Meaning::Again | Meaning::Speak(_));
                !whole || covered(&said.words, one, content) >= WHOLE
            }));
        }
        let inside = |one: &Found, other: &Found| {
            let covers = other.meaning != one.meaning && other.begin <= one.begin && one.end <= other.end;
            let longer = other.end - other.begin > one.end - one.begin && other.score + MARGIN > one.score;
            covers && (longer || (other.sure && other.score > one.score + MARGIN))
        };
        let counts = |one: &Found| !all.iter().any(|other| inside(one, other)) && !turned_round(&said.words, one.begin);
        let mut best: Vec<Found> = Vec::new();
        for one in all.iter().filter(|one| counts(one)) {
            match best.iter_mut().find(|other| other.meaning == one.meaning) {
                Some(other) if (other.score, other.sure) < (one.score, one.sure) => *other = *one,
                Some(_) => {}
                None => best.push(*one),
            }
        }
        best.sort_by_key(|one| (std::cmp::Reverse(one.score), !one.sure, one.meaning));
        best
    }

    /// The phrases of that language, then those of the other, as hints.
    pub(crate) fn hints(&self, lang: Lang) -> Vec<Arc<str>> {
        let of = |mine: bool| {
            self.phrases.iter().filter(move |p| (language_of(&p.text) == lang) == mine).map(|p| Arc::clone(&p.text))
        };
        of(true).chain(of(false)).take(limits::HINTS_MAX).collect()
    }
}

/// Of the words that carry meaning, how many are within the match, in percent.
fn covered(words: &[Word], found: &Found, content: usize) -> u32 {
    let inside = words[found.begin..found.end].iter().filter(|word| !word.filler).count();
    let percent = (inside * 100).checked_div(content).unwrap_or(100);
    u32::try_from(percent).unwrap_or(100)
}

/// Whether "not" stands before that place, with nothing between but fillers and "want".
fn turned_round(words: &[Word], begin: usize) -> bool {
    let before = words[..begin].iter().rev().take(4);
    for word in before {
        if lists::NOT.contains(&word.text.as_str()) {
            return true;
        }
        if !word.filler && !lists::NOT_THEN.contains(&word.text.as_str()) {
            return false;
        }
    }
    false
}

/// One cell of an alignment: its cost, where it begins in the text, the dearest single difference.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    cost: u32,
    begin: usize,
    worst: u32,
}

impl Cell {
    fn and(self, cost: u32) -> Self {
        Self { cost: self.cost + cost, begin: self.begin, worst: self.worst.max(cost) }
    }
}

/// Two rows, kept between phrases.
#[derive(Default)]
struct Rows {
    above: Vec<Cell>,
    row: Vec<Cell>,
}

/// A word of the text that the phrase lacks.
const EXTRA: u32 = 70;

impl Rows {
    /// The best place of a phrase in a text.
    fn lay(&mut self, phrase: &Phrase, text: &[Word], content: usize) -> Option<Found> {
        self.above.clear();
        self.above.extend((0..=text.len()).map(|begin| Cell { cost: 0, begin, worst: 0 }));
        for wanted in &phrase.words {
            self.row.clear();
            let first = self.above[0].and(weight(wanted));
            self.row.push(first);
            for (at, heard) in text.iter().enumerate() {
                let instead = heard.distance(wanted);
                let instead = if wanted.filler { instead.min(10) } else { instead };
                let extra = if heard.filler { 10 } else { EXTRA };
                let ways =
                    [self.above[at].and(instead), self.above[at + 1].and(weight(wanted)), self.row[at].and(extra)];
                // The cheapest; of those the one that begins last, so that a match is no longer than it must be.
                let best = ways.into_iter().min_by_key(|cell| (cell.cost, text.len() - cell.begin));
                self.row.push(best.unwrap_or_default());
            }
            std::mem::swap(&mut self.above, &mut self.row);
        }
        let ends = self.above.iter().enumerate();
        let (end, cell) = ends.min_by_key(|(end, cell)| (cell.cost, *end))?;
        let likeness = 100 - (cell.cost.min(phrase.weight) * 100).checked_div(phrase.weight).unwrap_or(100);
        if cell.begin >= end || likeness < LIKENESS_MIN {
            return None;
        }
        let mut found = Found { meaning: phrase.meaning, score: 0, sure: cell.worst <= 40, begin: cell.begin, end };
        found.score = likeness * (70 + 30 * covered(text, &found, content) / 100) / 100;
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::Confidence;

    const USUAL: Thresholds = Thresholds { accept: 75, confirm: 40 };

    fn book() -> PhraseBook {
        let phrases = [
            ('1', "账户"),
            ('1', "账号问题"),
            ('1', "account"),
            ('2', "查询订单"),
            ('2', "订单"),
            ('2', "order status"),
            ('2', "my orders"),
            ('3', "投诉"),
            ('3', "complaint"),
            ('4', "取消订单"),
            ('4', "cancel my order"),
        ];
        PhraseBook {
            phrases: phrases.iter().map(|(key, text)| Phrase::new(Meaning::Key(*key), text).unwrap()).collect(),
        }
    }

    fn heard(text: &str, percent: u8) -> Understood {
        book().understand(&Speech::new(text, Confidence::percent(percent)), &[], USUAL)
    }

    fn typed(text: &str) -> Understood {
        heard(text, 100)
    }

    #[test]
    fn what_is_meant_is_found_in_what_people_say() {
        for (text, key) in [
            ("查询订单", '2'),
            ("订单", '2'),
            ("请问我想查一下订单", '2'),
            ("我要查询一下我的订单。", '2'),
            ("呃……我的订单呢？", '2'),
            ("定单", '2'),
            ("訂單", '2'),
            ("帐户", '1'),
            ("我要投诉你们", '3'),
            ("取消订单", '4'),
            ("帮我取消一下订单，谢谢", '4'),
            ("I want to cancel my order please", '4'),
            ("ORDER STATUS", '2'),
            ("Hello, I'd like to make a complaint", '3'),
            ("my account please", '1'),
        ] {
            assert_eq!(typed(text), Understood::Sure(Meaning::Key(key)), "{text}");
        }
    }

    #[test]
    fn a_person_is_found_however_one_asks() {
        for text in [
            "转人工",
            "找人工",
            "人工客服",
            "人工服务",
            "我要找人工客服！",
            "请帮我转人工服务，谢谢",
            "轉人工",
            "专人工",
            "砖人工",
            "人工人工人工",
            "我不要机器人",
            "能不能找个真人跟我说",
            "agent",
            "Operator!",
            "speak to a representative please",
            "can I talk to a real person",
            "I want to speak to someone",
            "Representatives",
            "客服",
        ] {
            assert_eq!(typed(text), Understood::Sure(Meaning::Person), "{text}");
            assert_eq!(heard(text, 41), Understood::Sure(Meaning::Person), "{text}, heard badly");
        }
        for text in ["人工智能", "人工费多少", "不要人工", "in person", "dont want an agent"] {
            assert_ne!(typed(text), Understood::Sure(Meaning::Person), "{text}");
        }
    }

    #[test]
    fn what_is_not_sure_is_asked_back_and_the_rest_is_not_understood() {
        // Heard badly.
        assert_eq!(heard("查询订单", 60), Understood::Maybe(Meaning::Key('2')));
        assert_eq!(heard("查询订单", 30), Understood::No);
        // Half of it.
        assert_eq!(typed("账号"), Understood::Maybe(Meaning::Key('1')));
        // Another word, or one that is missing.
        assert_eq!(typed("查寻定单号"), Understood::Sure(Meaning::Key('2')));
        assert!(matches!(typed("取销丁单"), Understood::Maybe(_) | Understood::Sure(Meaning::Key('4'))));
        assert_eq!(typed("取走订单"), Understood::Sure(Meaning::Key('2')));
        // Two things at once.
        assert!(matches!(typed("订单和投诉"), Understood::Maybe(_)), "{:?}", typed("订单和投诉"));
        // In a long story.
        let story = "昨天晚上八点左右我老婆在商场三楼买了一台电视机回家发现屏幕坏掉所以才打来说订单这件事情";
        assert_eq!(typed(story), Understood::Maybe(Meaning::Key('2')));
        // Nothing of the kind.
        for text in ["", "。。。", "呃", "天气怎么样", "blue whale", "的的的", "\u{1f600}"] {
            assert_eq!(typed(text), Understood::No, "{text}");
        }
    }

    #[test]
    fn not_turns_it_round_and_the_longer_phrase_wins() {
        assert_eq!(typed("我不要投诉"), Understood::No);
        assert_eq!(typed("我不是投诉，我要查订单"), Understood::Sure(Meaning::Key('2')));
        assert_eq!(typed("not a complaint, my account"), Understood::Sure(Meaning::Key('1')));
        assert_eq!(typed("取消订单"), Understood::Sure(Meaning::Key('4')), "not the order that is in it");
    }

    #[test]
    fn again_and_languages_are_whole_answers() {
        assert_eq!(typed("再说一遍"), Understood::Sure(Meaning::Again));
        assert_eq!(typed("什么？"), Understood::Sure(Meaning::Again));
        assert_eq!(typed("Sorry, could you repeat that?"), Understood::Sure(Meaning::Again));
        assert_eq!(typed("English please"), Understood::Sure(Meaning::Speak(Lang::En)));
        assert_eq!(typed("我要说中文"), Understood::Sure(Meaning::Speak(Lang::Zh)));
        assert_eq!(typed("什么时候我的订单到"), Understood::Sure(Meaning::Key('2')));
    }

    #[test]
    fn phrases_know_what_they_share() {
        let phrase = |text| Phrase::new(Meaning::Key('1'), text).unwrap();
        assert_eq!(phrase("我的订单").spelt(), phrase("订单！").spelt());
        assert_eq!(phrase("定单").sound(), phrase("订单").sound());
        assert_ne!(phrase("定单").spelt(), phrase("订单").spelt());
        assert!(phrase("取消订单").parts().contains(&phrase("订单").spelt()));
        assert!(!phrase("订单").parts().contains(&phrase("订单").spelt()));
        assert_eq!(Phrase::new(Meaning::Person, "！").unwrap_err(), NoPhrase::Empty);
        assert_eq!(Phrase::new(Meaning::Person, "我").unwrap_err(), NoPhrase::Empty);
        assert_eq!(Phrase::new(Meaning::Person, &"单".repeat(50)).unwrap_err(), NoPhrase::Long);
    }
}
