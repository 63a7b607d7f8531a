// A picture and a sound, made here: no files of anybody's.
import { deflateSync } from "node:zlib";

const CRC = Array.from({ length: 256 }, (_, n) => { let c = n; for (let k = 0; k < 8; k += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1; return c >>> 0; });
const crc = (bytes) => { let c = 0xffffffff; for (const byte of bytes) c = CRC[(c ^ byte) & 255] ^ (c >>> 8); return (c ^ 0xffffffff) >>> 0; };
function chunk(name, data) {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(data.length);
  const body = Buffer.concat([Buffer.from(name), data]);
  const tail = Buffer.alloc(4);
  tail.writeUInt32BE(crc(body));
  return Buffer.concat([head, body, tail]);
}

/** A bill as a picture, 640 x 360. */
export function picture() {
  const [width, height] = [640, 360];
  const rows = [];
  const line = (x, y) => {
    if (x > 60 && x < 580 && y > 40 && y < 320) {
      if (y > 60 && y < 90 && x > 90 && x < 330) return [40, 74, 112];
      for (const [at, long] of [[130, 400], [160, 360], [190, 420]]) if (y > at && y < at + 10 && x > 90 && x < 90 + long) return [196, 206, 218];
      for (const at of [240, 275]) if (y > at && y < at + 16 && x > 430 && x < 545) return [190, 62, 54];
      for (const at of [240, 275]) if (y > at && y < at + 10 && x > 90 && x < 300) return [120, 136, 156];
      return [255, 255, 255];
    }
    return [206 + Math.round(30 * (x / width)), 218 + Math.round(20 * (y / height)), 230];
  };
  for (let y = 0; y < height; y += 1) {
    const row = Buffer.alloc(1 + width * 3);
    for (let x = 0; x < width; x += 1) row.set(line(x, y), 1 + x * 3);
    rows.push(row);
  }
  const size = Buffer.alloc(13);
  size.writeUInt32BE(width, 0);
  size.writeUInt32BE(height, 4);
  size.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", size), chunk("IDAT", deflateSync(Buffer.concat(rows))), chunk("IEND", Buffer.alloc(0))]);
}

/** Two minutes whose tone rises with time: by ear and by test one hears where one is. */
export function tone() {
  const [rate, length] = [8000, 120];
  const bytes = Buffer.alloc(44 + rate * length * 2);
  bytes.write("RIFF", 0);
  bytes.writeUInt32LE(36 + rate * length * 2, 4);
  bytes.write("WAVEfmt ", 8);
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(rate, 24);
  bytes.writeUInt32LE(rate * 2, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write("data", 36);
  bytes.writeUInt32LE(rate * length * 2, 40);
  for (let n = 0; n < rate * length; n += 1) bytes.writeInt16LE(Math.round(6000 * Math.sin((2 * Math.PI * (200 + (n / rate) * 5) * n) / rate)), 44 + n * 2);
  return bytes;
}
