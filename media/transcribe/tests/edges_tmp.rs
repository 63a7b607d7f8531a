use std::process::Command;
use std::time::Duration;
use ark_media::prompt;
use ark_transcribe::stream::{Stream, StreamConfig};
use ark_transcribe::SpeechEvent;
const ZH: [&str; 10] = ["包裹到哪里了。","电脑的价格是多少，谢谢。","我希望修改一下密码。","付款失败了，谢谢。","我要找客服，谢谢。","你们扣了四次款。","早上好，我想退款。","下午好，我想取消订单。","我希望更改登录密码。","请说慢一点，谢谢你。"];
const EN: [&str; 10] = ["The parcel is late.","I need to talk to an operator.","We were charged three times.","The delivery arrived damaged.","How do I send a picture?","My parcel never arrived, thanks.","I want to complain, thanks.","When will my money come back?","Where is my subscription?","I need my refund."];
#[test]
fn edges() {
    for (lang, all) in [("cmn-latn-pinyin", ZH), ("en-us", EN)] {
        let (mut b, mut e) = (Vec::new(), Vec::new());
        for text in all {
            let spoken = Command::new("espeak-ng").args(["-v", lang, "-s", "150", "--stdout", text]).output().unwrap();
            let pcm = prompt::decode(spoken.stdout, "speech.wav").unwrap().resampled(8_000).samples;
            let loud = |s: &i16| s.unsigned_abs() > 700;
            let (begin, end) = (pcm.iter().position(loud).unwrap() as i64 / 8, pcm.iter().rposition(loud).unwrap() as i64 / 8);
            let mut all = vec![0_i16; 8_000];
            all.extend(&pcm);
            all.resize((all.len() + 10_400).next_multiple_of(160), 0);
            // A-law there and back
            let alaw = ark_media::codec::ALL.iter().copied().find(|c| c.name() == "PCMA").unwrap();
            let mut bytes = vec![0; all.len()];
            let n = alaw.encoder().encode(&all, &mut bytes);
            let mut back = vec![0; all.len()];
            alaw.decoder().decode(&bytes[..n], &mut back);
            let mut stream = Stream::new(StreamConfig { partials: false, ..StreamConfig::default() }, 8_000).unwrap();
            let mut said = Vec::new();
            for (i, chunk) in back.chunks(160).enumerate() {
                stream.push(Duration::from_millis(i as u64 * 20), chunk);
                while let Some(work) = stream.work() { let a = ark_transcribe::Recognised { text: "x".into(), ..Default::default() }; stream.answer(work.ticket, Ok(a), false); }
                while let Some(event) = stream.poll() { if let SpeechEvent::Final { start, end, .. } = event { said.push((start.as_millis() as i64 - 1_000, end.as_millis() as i64 - 1_000)); } }
            }
            let (s, t) = (said.first().unwrap().0, said.last().unwrap().1);
            println!("{text}: begin {begin} found {s} ({:+}) end {end} found {t} ({:+}) n={}", s - begin, t - end, said.len());
            b.push(s - begin); e.push(t - end);
        }
        b.sort(); e.sort();
        println!("{lang}: begins {b:?} ends {e:?}");
    }
}
