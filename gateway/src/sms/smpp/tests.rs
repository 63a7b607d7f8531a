//! The client and a message centre of the test's own, on loopback.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

const TO: &str = "+8613800001212";

/// What the centre does with each submission in turn; then it takes them all.
#[derive(Clone, Copy, Debug)]
enum Does {
    Take,
    Status(u32),
    Hang,
    Break,
}

struct Centre {
    address: String,
    seen: mpsc::Receiver<Pdu>,
}

async fn centre(does: Vec<Does>) -> Centre {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (seen, sees) = mpsc::channel(1_000);
    let does = Arc::new(StdMutex::new(does.into_iter()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, seen.clone(), Arc::clone(&does)));
        }
    });
    Centre { address, seen: sees }
}

async fn serve(mut stream: TcpStream, seen: mpsc::Sender<Pdu>, does: Arc<StdMutex<std::vec::IntoIter<Does>>>) {
    while let Ok(pdu) = read(&mut stream).await {
        seen.send(pdu.clone()).await.unwrap();
        let answer = match pdu.id {
            command::BIND_TRANSCEIVER => {
                let right = pdu.body.starts_with(b"ark\0secret\0");
                pdu.answer(if right { ESME_ROK } else { 0x0e }, b"fake\0".to_vec())
            }
            command::SUBMIT_SM => match does.lock().unwrap().next().unwrap_or(Does::Take) {
                Does::Take => pdu.answer(ESME_ROK, b"m1\0".to_vec()),
                Does::Status(status) => pdu.answer(status, Vec::new()),
                Does::Hang => continue,
                Does::Break => return,
            },
            id if id & command::RESPONSE != 0 => continue,
            _ => pdu.answer(ESME_ROK, Vec::new()),
        };
        stream.write_all(&answer.encode()).await.unwrap();
        if pdu.id == command::SUBMIT_SM {
            // A receipt comes when it comes.
            let text = b"id:m1 sub:001 dlvrd:001 submit date:1 done date:2 stat:UNDELIV err:011 text:x";
            let mut body = b"\0\x01\x0186138\0\x05\0ARK\0\x04\0\0\0\0\0\0\0\0".to_vec();
            body.push(u8::try_from(text.len()).unwrap());
            body.extend_from_slice(text);
            let receipt = Pdu::new(command::DELIVER_SM, 900, body);
            stream.write_all(&receipt.encode()).await.unwrap();
        }
    }
}

fn client(address: &str, secret: &str, window: usize) -> (Client, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    let config = format!(
        "address = {address:?}\nsystem_id = \"ark\"\npassword = {{ file = {file:?} }}\nfrom = \"ARK\"\nwindow = {window}\ntimeout = \"2s\""
    );
    (Client::new(&toml::from_str(&config).unwrap()).unwrap(), folder)
}

async fn next(centre: &mut Centre, id: u32) -> Pdu {
    loop {
        let pdu = tokio::time::timeout(Duration::from_secs(20), centre.seen.recv()).await.unwrap().unwrap();
        if pdu.id == id {
            return pdu;
        }
    }
}

#[tokio::test]
async fn a_message_is_bound_for_and_submitted_and_its_receipt_is_answered() {
    let mut centre = centre(Vec::new()).await;
    let (client, _folder) = client(&centre.address, "secret", 10);
    let fate = client.send(TO, "hello").await.unwrap();
    let why = tokio::time::timeout(Duration::from_secs(20), fate).await.unwrap().unwrap();
    assert_eq!(why, "the operator could not deliver it (code 011)");
    let submitted = next(&mut centre, command::SUBMIT_SM).await;
    assert!(submitted.body.ends_with(b"\x05hello"), "{:?}", submitted.body);
    let receipt = next(&mut centre, command::DELIVER_SM | command::RESPONSE).await;
    assert_eq!((receipt.status, receipt.sequence), (ESME_ROK, 900));
    client.send(TO, &"您好".repeat(60)).await.unwrap();
    let (first, second) = (next(&mut centre, command::SUBMIT_SM).await, next(&mut centre, command::SUBMIT_SM).await);
    assert!(first.sequence < second.sequence, "one connection for all");
    let header = |pdu: &Pdu| {
        pdu.body
            .windows(3)
            .position(|three| three == [5, 0, 3])
            .and_then(|at| pdu.body.get(at + 3..at + 6).map(<[u8]>::to_vec))
    };
    let (one, two) = (header(&first).unwrap(), header(&second).unwrap());
    assert_eq!((one[0], &one[1..], &two[1..]), (two[0], &[2, 1][..], &[2, 2][..]), "parts of one message");
}

#[tokio::test]
async fn many_at_once_share_one_connection_and_its_window() {
    let mut centre = centre(Vec::new()).await;
    let (client, _folder) = client(&centre.address, "secret", 3);
    let client = Arc::new(client);
    let all: Vec<_> = (0..30)
        .map(|n| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { client.send(TO, &format!("number {n}")).await })
        })
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    centre.seen.close();
    let (mut binds, mut submits) = (0, 0);
    while let Some(pdu) = centre.seen.recv().await {
        binds += u32::from(pdu.id == command::BIND_TRANSCEIVER);
        submits += u32::from(pdu.id == command::SUBMIT_SM);
    }
    assert_eq!((binds, submits), (1, 30));
}

#[tokio::test]
async fn a_busy_centre_is_asked_again_and_a_refusal_is_final() {
    let mut busy = centre(vec![Does::Status(ESME_RTHROTTLED), Does::Status(ESME_RMSGQFUL), Does::Take]).await;
    let (ours, _folder) = client(&busy.address, "secret", 10);
    ours.send(TO, "hello").await.unwrap();
    for _ in 0..3 {
        next(&mut busy, command::SUBMIT_SM).await;
    }
    let refusing = centre(vec![Does::Status(0x0b)]).await;
    let (ours, _folder) = client(&refusing.address, "secret", 10);
    let refused = ours.send(TO, "hello").await;
    assert!(matches!(&refused, Err(SmsError::Failed(why)) if why.contains("0xb")), "{refused:?}");
}

#[tokio::test]
async fn what_was_written_and_not_answered_is_not_written_again() {
    let mut odd = centre(vec![Does::Hang, Does::Break, Does::Take]).await;
    let (ours, _folder) = client(&odd.address, "secret", 10);
    assert!(matches!(ours.send(TO, "one").await, Err(SmsError::Unknown(_))), "no answer");
    assert!(matches!(ours.send(TO, "two").await, Err(SmsError::Unknown(_))), "a new connection, which breaks");
    ours.send(TO, "three").await.expect("and another one");
    for word in [&b"\x03one"[..], b"\x03two", b"\x05three"] {
        assert!(next(&mut odd, command::SUBMIT_SM).await.body.ends_with(word));
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_centre_that_is_away_are_said_and_not_hammered() {
    let mut centre = centre(Vec::new()).await;
    let (ours, _folder) = client(&centre.address, "wrong", 10);
    let refused = ours.send(TO, "hello").await;
    assert!(matches!(&refused, Err(SmsError::Failed(why)) if why.contains("password")), "{refused:?}");
    let again = ours.send(TO, "hello").await;
    assert!(matches!(&again, Err(SmsError::Failed(why)) if why.contains("tried again in")), "{again:?}");
    next(&mut centre, command::BIND_TRANSCEIVER).await;
    assert!(centre.seen.try_recv().is_err(), "it was asked once");
}
