//! A picture of a visitor's: from its last byte to the agent who sees it.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::load::{self, failed};
use super::traffic;
use crate::bench::kit::BenchError;

/// How long one picture may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A picture has so many bytes, or a little more.
const BYTES: usize = 5_000_000;

/// A photograph's worst case: noise, which no encoder makes small.
fn picture() -> Result<Vec<u8>, BenchError> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut side = 1_400_u32;
    loop {
        let pixels: Vec<u8> = (0..side as usize * side as usize * 3)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random >> 32) as u8
            })
            .collect();
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90)
            .write_image(&pixels, side, side, ExtendedColorType::Rgb8)
            .map_err(|error| failed(error.to_string()))?;
        if bytes.len() >= BYTES {
            return Ok(bytes);
        }
        let grows = (BYTES as f64 / bytes.len() as f64).sqrt() * 1.01;
        side = (f64::from(side) * grows).ceil() as u32;
    }
}

/// Size of the picture in bytes, and seconds from its last byte to the agent's socket, each time.
pub(super) async fn measure(web: SocketAddr, token: &str, times: usize) -> Result<(usize, Vec<f64>), BenchError> {
    let picture = picture()?;
    let visitor = load::visitor(web).await?;
    let mut agent = load::agent(web, token).await?;
    let mut took = Vec::with_capacity(times);
    for n in 0..times {
        let mut stream = TcpStream::connect(web).await.map_err(|error| failed(error.to_string()))?;
        let head = format!(
            "POST /chat/web/files?id=picture{n}&name=photo.jpg&visit=v HTTP/1.1\r\nhost: {web}\r\nconnection: close\r\n\
             authorization: Bearer {visitor}\r\nx-forwarded-for: {}\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n",
            traffic::visitor(0xff_ffff),
            picture.len()
        );
        let sending = async {
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&picture).await?;
            stream.flush().await
        };
        sending.await.map_err(|error| failed(error.to_string()))?;
        let last_byte = Instant::now();
        let seeing = async {
            while let Some(Ok(message)) = agent.next().await {
                if message.to_text().is_ok_and(|text| text.contains(&format!("picture{n}"))) {
                    return true;
                }
            }
            false
        };
        let seen = timeout(PATIENCE, seeing).await.unwrap_or(false);
        let seconds = last_byte.elapsed().as_secs_f64();
        let mut answer = String::new();
        let _ = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
        if !seen || !answer.contains("\"ack\"") {
            return Err(failed(format!("the agent does not see a picture of {} bytes: {answer}", picture.len())));
        }
        took.push(seconds);
    }
    Ok((picture.len(), took))
}
