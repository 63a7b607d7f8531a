// Tencent's own @wecom/crypto, beside Ark: wecom.mjs open KEY TOKEN TIME NONCE SEALED | seal KEY TOKEN TIME NONCE MESSAGE OWNER
import { decrypt, encrypt, getSignature } from "@wecom/crypto";

const [what, key, token, time, nonce, text, owner] = process.argv.slice(2);
if (what === "open") {
  const { message, id } = decrypt(key, text);
  console.log(JSON.stringify({ message, id, signature: getSignature(token, time, nonce, text) }));
} else {
  const sealed = encrypt(key, text, owner);
  console.log(JSON.stringify({ sealed, signature: getSignature(token, time, nonce, sealed) }));
}
