//! What the synthesiser is given instead of the text as written: telephone numbers digit by digit, and in Mandarin the
//! reading of words whose characters have several, of which espeak-ng's dictionary takes the wrong one.

use ark_dialplans::Lang;
use ark_dialplans::say::{self, Kind, Token};

/// Digits in a row from which on they are a number to be dialled and not a quantity.
const DIALLED_MIN: usize = 5;

/// Words that espeak-ng 1.51 misreads character by character, with their pinyin. Longer words stand before their parts.
const WORDS: &[(&str, &str)] = &[
    ("重新", "chong2xin1"),
    ("重复", "chong2fu4"),
    ("重听", "chong2ting1"),
    ("重播", "chong2bo1"),
    ("重拨", "chong2bo1"),
    ("重试", "chong2shi4"),
    ("重输", "chong2shu1"),
    ("重置", "chong2zhi4"),
    ("重设", "chong2she4"),
    ("重启", "chong2qi3"),
    ("重庆", "chong2qing4"),
    ("银行", "yin2hang2"),
    ("分行", "fen1hang2"),
    ("支行", "zhi1hang2"),
    ("总行", "zong3hang2"),
    ("行长", "hang2zhang3"),
    ("行业", "hang2ye4"),
    ("央行", "yang1hang2"),
    ("音乐", "yin1yue4"),
    ("校长", "xiao4zhang3"),
    ("增长", "zeng1zhang3"),
    ("家长", "jia1zhang3"),
    ("还款", "huan2kuan3"),
    ("还清", "huan2qing1"),
    ("偿还", "chang2huan2"),
    ("归还", "gui1huan2"),
    ("退还", "tui4huan2"),
    ("调查", "diao4cha2"),
    ("会计", "kuai4ji4"),
    ("首都", "shou3du1"),
    ("成都", "cheng2du1"),
    ("了解", "liao3jie3"),
    ("为了", "wei4le5"),
    ("差别", "cha1bie2"),
    ("便宜", "pian2yi5"),
    ("处理", "chu3li3"),
    ("供应", "gong1ying4"),
    ("反应", "fan3ying4"),
    ("响应", "xiang3ying4"),
    ("中奖", "zhong4jiang3"),
    ("更改", "geng1gai3"),
    ("变更", "bian4geng1"),
    ("更新", "geng1xin1"),
    ("更换", "geng1huan4"),
    ("更正", "geng1zheng4"),
    ("着急", "zhao2ji2"),
    ("没收", "mo4shou1"),
    ("地址", "di4zhi3"),
    ("地区", "di4qu1"),
    ("地点", "di4dian3"),
    ("地方", "di4fang5"),
    ("曾经", "ceng2jing1"),
    ("当天", "dang4tian1"),
    ("的确", "di2que4"),
    ("目的", "mu4di4"),
    ("得到", "de2dao4"),
    ("获得", "huo4de2"),
    ("还得", "hai2dei3"),
    ("干净", "gan1jing4"),
    ("假期", "jia4qi1"),
    ("放假", "fang4jia4"),
    ("间隔", "jian4ge2"),
    ("角色", "jue2se4"),
    ("上当", "shang4dang4"),
    ("要求", "yao1qiu2"),
    ("正月", "zheng1yue4"),
    ("测量", "ce4liang2"),
    ("厦门", "xia4men2"),
];

/// The text for the synthesiser.
pub(super) fn for_synthesis(lang: Lang, text: &str) -> String {
    let text = dialled_numbers(lang, text);
    match lang {
        Lang::Zh => words(&text),
        Lang::En => text,
    }
}

/// Whether the voice reads pinyin where a word stands in Latin letters; others are given the characters.
fn words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((word, pinyin)) = WORDS.iter().find(|(word, _)| rest.starts_with(word)) {
            // Spaces: a syllable must not run into letters or digits beside it.
            out.push(' ');
            out.push_str(pinyin);
            out.push(' ');
            rest = &rest[word.len()..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

fn dialled_numbers(lang: Lang, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        out.push_str(&rest[..start]);
        let run = &rest[start..];
        let end = run.find(|c: char| !(c.is_ascii_digit() || c == '-')).unwrap_or(run.len());
        let run = run[..end].trim_end_matches('-');
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        // A dot, a comma or a unit of money beside it: an amount.
        let after = rest[start + run.len()..].chars().next();
        let amount = after.is_some_and(|c| matches!(c, '元' | '.' | '%' | '万' | '亿'))
            || rest[..start].ends_with(['¥', '$', '€', '.', ',']);
        if digits >= DIALLED_MIN && !amount {
            out.push_str(&spelled(lang, run));
        } else {
            out.push_str(run);
        }
        rest = &rest[start + run.len()..];
    }
    out.push_str(rest);
    out
}

fn spelled(lang: Lang, digits: &str) -> String {
    let words = say::speak_or_spell(lang, Kind::Digits, digits).into_iter().map(|token| match (token, lang) {
        (Token::Word(word), Lang::Zh) => word,
        (Token::Word(word), Lang::En) => format!(" {word}"),
        (Token::Pause, Lang::Zh) => "，".to_owned(),
        (Token::Pause, Lang::En) => ",".to_owned(),
    });
    words.collect::<String>().trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dialled_is_said_digit_by_digit_and_what_is_counted_is_not() {
        for (lang, text, wanted) in [
            (Lang::Zh, "这里是95188热线", "这里是九五幺八八热线"),
            (Lang::Zh, "请拨400-800-1234。", "请拨四零零八，零零幺二，三四。"),
            (Lang::Zh, "按0转人工，按1再听一遍。", "按0转人工，按1再听一遍。"),
            (Lang::Zh, "满10000元减5元", "满10000元减5元"),
            (Lang::Zh, "2026年10月1日", "2026年10月1日"),
            (Lang::En, "Call 95188 now", "Call nine five one eight eight now"),
            (Lang::En, "Press 0 for a person.", "Press 0 for a person."),
            (Lang::En, "over 12,000 customers, $50000", "over 12,000 customers, $50000"),
        ] {
            assert_eq!(dialled_numbers(lang, text), wanted);
        }
    }

    #[test]
    fn words_with_several_readings_are_given_in_pinyin() {
        assert_eq!(for_synthesis(Lang::Zh, "重听请按星号键"), " chong2ting1 请按星号键");
        assert_eq!(for_synthesis(Lang::Zh, "银行卡还款，重要"), " yin2hang2 卡 huan2kuan3 ，重要");
        assert_eq!(for_synthesis(Lang::En, "重听"), "重听");
    }

    #[test]
    fn each_word_stands_once_and_has_a_syllable_with_a_tone_for_each_character() {
        for (at, (word, pinyin)) in WORDS.iter().enumerate() {
            assert!(WORDS[..at].iter().all(|(other, _)| !word.starts_with(other)), "{word} is never found");
            let tones = pinyin.bytes().filter(u8::is_ascii_digit).count();
            assert_eq!(tones, word.chars().count(), "{word} {pinyin}");
        }
    }
}
