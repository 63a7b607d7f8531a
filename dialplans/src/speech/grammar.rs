//! Digits, yes and no, and the number of a key.

use super::words::{Kind, Word};
use super::{Speech, lists};
use crate::limits;

/// Digits that were said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Digits {
    pub(crate) digits: String,
    /// Nothing but digits was said, in words that mean nothing else.
    pub(crate) sure: bool,
}

/// What a word is among digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Among {
    Digit(char),
    /// Ten to nineteen.
    Teen(u8),
    /// Twenty to ninety.
    Ten(u8),
    /// "double", "triple".
    Times(usize),
    /// A digit when it stands between digits: 腰, "for".
    Perhaps(char),
    /// Says which digits these are: 号码, "number".
    Frame,
    Other,
}

fn among(word: &Word) -> Among {
    match (word.kind, word.text.as_str()) {
        (Kind::Sign, text) => sign(text),
        (_, text) => letters(text),
    }
}

fn sign(text: &str) -> Among {
    Among::Digit(match text {
        "零" | "〇" | "洞" => '0',
        "一" | "幺" | "壹" => '1',
        "二" | "两" | "贰" => '2',
        "三" | "叁" => '3',
        "四" | "肆" => '4',
        "五" | "伍" => '5',
        "六" | "陆" => '6',
        "七" | "柒" | "拐" => '7',
        "八" | "捌" => '8',
        "九" | "玖" => '9',
        // What recognisers write for yāo, and for 1 to 9 in a hurry.
        "腰" | "要" | "妖" | "邀" | "么" | "夭" | "医" | "衣" => return Among::Perhaps('1'),
        "儿" | "而" | "耳" => return Among::Perhaps('2'),
        "散" | "伞" => return Among::Perhaps('3'),
        "是" | "死" | "似" => return Among::Perhaps('4'),
        "吴" | "无" | "舞" => return Among::Perhaps('5'),
        "流" | "留" | "刘" => return Among::Perhaps('6'),
        "起" | "期" | "气" => return Among::Perhaps('7'),
        "吧" | "把" | "巴" => return Among::Perhaps('8'),
        "就" | "酒" | "久" => return Among::Perhaps('9'),
        "号" | "码" | "单" | "订" | "卡" | "数" | "字" | "尾" | "编" | "按" | "键" | "第" | "的" => {
            return Among::Frame;
        }
        _ => return Among::Other,
    })
}

fn letters(text: &str) -> Among {
    match text {
        "zero" | "oh" | "nought" | "naught" | "ling" | "nil" => Among::Digit('0'),
        "one" | "yao" => Among::Digit('1'),
        "two" => Among::Digit('2'),
        "three" => Among::Digit('3'),
        "four" => Among::Digit('4'),
        "five" => Among::Digit('5'),
        "six" => Among::Digit('6'),
        "seven" => Among::Digit('7'),
        "eight" => Among::Digit('8'),
        "nine" | "niner" => Among::Digit('9'),
        "ten" => Among::Teen(10),
        "eleven" => Among::Teen(11),
        "twelve" => Among::Teen(12),
        "thirteen" => Among::Teen(13),
        "fourteen" => Among::Teen(14),
        "fifteen" => Among::Teen(15),
        "sixteen" => Among::Teen(16),
        "seventeen" => Among::Teen(17),
        "eighteen" => Among::Teen(18),
        "nineteen" => Among::Teen(19),
        "twenty" => Among::Ten(2),
        "thirty" => Among::Ten(3),
        "forty" | "fourty" => Among::Ten(4),
        "fifty" => Among::Ten(5),
        "sixty" => Among::Ten(6),
        "seventy" => Among::Ten(7),
        "eighty" => Among::Ten(8),
        "ninety" => Among::Ten(9),
        "double" => Among::Times(2),
        "triple" | "treble" => Among::Times(3),
        "o" | "owe" => Among::Perhaps('0'),
        "won" => Among::Perhaps('1'),
        "to" | "too" => Among::Perhaps('2'),
        "for" | "fore" => Among::Perhaps('4'),
        "sex" | "sicks" => Among::Perhaps('6'),
        "ate" => Among::Perhaps('8'),
        "number" | "numbers" | "order" | "card" | "code" | "account" | "digits" | "no" | "is" | "its" => Among::Frame,
        _ => Among::Other,
    }
}

/// The digits that were said, when they stand together: 一二三, "one two three", "double five", figures, and all of them mixed.
/// `None`: there are none, or something that is no digit stands between them.
pub(crate) fn digits(said: &Speech) -> Option<Digits> {
    let kinds: Vec<Among> = said
        .words
        .iter()
        .map(|word| if word.kind == Kind::Figures { Among::Digit('0') } else { among(word) })
        .collect();
    let plain = |at: &usize| matches!(kinds[*at], Among::Digit(_) | Among::Teen(_) | Among::Ten(_) | Among::Times(_));
    let first = (0..kinds.len()).find(plain)?;
    let last = (0..kinds.len()).rfind(plain)?;
    let mut found = String::new();
    let mut sure = true;
    let mut times = 1;
    let mut at = first;
    while at <= last {
        let word = &said.words[at];
        let step = |digits: &str, found: &mut String, times: &mut usize| {
            (0..std::mem::replace(times, 1)).for_each(|_| found.push_str(digits));
        };
        match kinds[at] {
            Among::Digit(_) if word.kind == Kind::Figures => step(&word.text, &mut found, &mut times),
            Among::Digit(digit) => step(digit.encode_utf8(&mut [0; 4]), &mut found, &mut times),
            Among::Teen(number) => step(&number.to_string(), &mut found, &mut times),
            Among::Ten(ten) => {
                // "twenty three" is 23, "twenty" alone is 20.
                let unit = match kinds.get(at + 1) {
                    Some(Among::Digit(unit @ '1'..='9')) if at < last && said.words[at + 1].kind != Kind::Figures => {
                        at += 1;
                        *unit
                    }
                    _ => '0',
                };
                step(&format!("{ten}{unit}"), &mut found, &mut times);
            }
            Among::Times(n) => times = n,
            Among::Perhaps(digit) => {
                sure = false;
                step(digit.encode_utf8(&mut [0; 4]), &mut found, &mut times);
            }
            Among::Frame | Among::Other if word.filler => {}
            Among::Frame | Among::Other => return None,
        }
        at += 1;
        if found.len() > limits::DIGITS_MAX * 2 {
            return None;
        }
    }
    // What stands around: a frame and fillers are nothing, a doubtful word at the edge leaves a doubt.
    let around = said.words[..first].iter().zip(&kinds[..first]);
    let around = around.chain(said.words[last + 1..].iter().zip(&kinds[last + 1..]));
    let frame = |word: &Word, kind: &Among| word.filler || matches!(kind, Among::Frame) || word.text == "是";
    let strange = around.filter(|(word, kind)| !frame(word, kind)).count();
    let edge = doubtful_before(&said.words, &kinds, first) || matches!(kinds.get(last + 1), Some(Among::Perhaps(_)));
    sure &= strange == 0 && !edge;
    Some(Digits { digits: found, sure })
}

/// Whether the word before the digits may be one of them: 要一二三, but not 我要一二三 or 号码是一二三.
fn doubtful_before(words: &[Word], kinds: &[Among], first: usize) -> bool {
    let Some(before) = first.checked_sub(1) else { return false };
    let (word, earlier) = (&words[before], before.checked_sub(1).and_then(|at| words.get(at)));
    let within_filler = word.filler && earlier.is_some_and(|word| word.filler);
    matches!(kinds[before], Among::Perhaps(_)) && word.text != "是" && !within_filler
}

/// Yes (`true`) or no. `None`: neither, or both.
pub(crate) fn yes_or_no(said: &Speech) -> Option<bool> {
    let (yes, no) = (lists::yes(), lists::no());
    let (mut found_yes, mut found_no, mut others) = (false, false, 0);
    let mut at = 0;
    while at < said.words.len() {
        let (y, n) = (yes.longest_at(&said.words, at), no.longest_at(&said.words, at));
        if y.max(n) == 0 {
            others += usize::from(!said.words[at].filler);
            at += 1;
            continue;
        }
        // The longer one: 不对 is no, 没错 is yes.
        if n > y {
            found_no = true;
        } else {
            found_yes = true;
        }
        at += y.max(n);
    }
    match (found_yes, found_no) {
        // An answer, not a story that has a "right" in it.
        (true, false) if others <= 2 => Some(true),
        (false, true) if others <= 4 => Some(false),
        _ => None,
    }
}

/// The key whose number is said: 一, "two", "press three", 按星号, or typed: 1, #.
pub(crate) fn key(said: &Speech) -> Option<char> {
    let mut found = None;
    for (at, word) in said.words.iter().enumerate() {
        let key = match (word.kind, word.text.as_str()) {
            (Kind::Figures, figures) if figures.len() == 1 => figures.chars().next(),
            (Kind::Figures, _) => return None,
            (_, "星" | "米" | "star" | "asterisk") => Some('*'),
            (_, "井" | "hash" | "pound") => Some('#'),
            (
                _,
                "按" | "拨" | "号" | "键" | "第" | "项" | "个" | "数" | "字" | "选" | "择" | "打" | "press" | "option"
                | "number" | "choose" | "choice" | "select" | "key" | "dial" | "digit",
            ) => continue,
            _ => match among(word) {
                // 一下 is no number.
                Among::Digit('1') if said.words.get(at + 1).is_some_and(|next| next.text == "下") => continue,
                Among::Digit(digit) => Some(digit),
                _ if word.filler => continue,
                _ => return None,
            },
        };
        if found.is_some() && found != key {
            return None;
        }
        found = key;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::Confidence;

    fn speech(text: &str) -> Speech {
        Speech::new(text, Confidence::FULL)
    }

    #[test]
    fn digits_are_read_however_they_are_said() {
        for (text, wanted, sure) in [
            ("一二三", "123", true),
            ("幺三八零零幺三八", "13800138", true),
            ("yāo two 三", "123", true),
            ("one two three", "123", true),
            ("double five", "55", true),
            ("triple nine one", "9991", true),
            ("oh seven double 5", "0755", true),
            ("twenty twenty six", "2026", true),
            ("twelve thirty", "1230", true),
            ("twenty one", "21", true),
            ("1234 5678", "12345678", true),
            ("１２３４", "1234", true),
            ("12,345", "12345", true),
            ("12三4", "1234", true),
            ("我的订单号是2026，谢谢", "2026", true),
            ("呃，二零二六", "2026", true),
            ("my order number is one two three four please", "1234", true),
            ("零两二〇", "0220", true),
            // What leaves a doubt.
            ("一腰三", "113", false),
            ("1 2 for 5", "1245", false),
            ("大概是1234", "1234", false),
            ("一二三要", "123", false),
        ] {
            assert_eq!(digits(&speech(text)), Some(Digits { digits: wanted.to_owned(), sure }), "{text}");
        }
        for text in ["", "没有", "一二三不对一二四", "one or two", "什么", "to be or not to be"] {
            assert_eq!(digits(&speech(text)), None, "{text}");
        }
        assert_eq!(digits(&speech(&"9".repeat(499))), None, "longer than any entry");
    }

    #[test]
    fn yes_and_no_are_answers() {
        for text in [
            "是",
            "是的",
            "对",
            "没错",
            "嗯",
            "对对对",
            "是的，谢谢",
            "没问题",
            "Yes",
            "yes please",
            "That's right!",
            "yeah sure",
            "OK",
        ] {
            assert_eq!(yes_or_no(&speech(text)), Some(true), "{text}");
        }
        for text in [
            "不是",
            "不对",
            "不",
            "错了",
            "不是的",
            "不要",
            "no",
            "Nope.",
            "that's not right",
            "no no no",
            "不是这个",
            "wrong number",
        ] {
            assert_eq!(yes_or_no(&speech(text)), Some(false), "{text}");
        }
        for text in
            ["", "是不是", "yes no", "订单", "不对，是一二三", "what", "the right honourable member of the house"]
        {
            assert_eq!(yes_or_no(&speech(text)), None, "{text}");
        }
    }

    #[test]
    fn a_key_is_chosen_by_its_number() {
        for (text, wanted) in [
            ("1", Some('1')),
            ("一", Some('1')),
            ("幺", Some('1')),
            ("按二", Some('2')),
            ("选三", Some('3')),
            ("第一个", Some('1')),
            ("two", Some('2')),
            ("press three please", Some('3')),
            ("option number 4", Some('4')),
            ("星号键", Some('*')),
            ("#", Some('#')),
            ("零", Some('0')),
            ("一一", Some('1')),
            ("一二", None),
            ("12", None),
            ("一个订单", None),
            ("", None),
            ("press", None),
            ("for", None),
        ] {
            assert_eq!(key(&speech(text)), wanted, "{text}");
        }
    }
}
