"""wechatpy, beside Ark: opens and seals messages of safe mode, and sends by the customer-service API.

  wechat.py open TOKEN AES_KEY APP_ID SIGNATURE TIMESTAMP NONCE < body    the message within
  wechat.py seal TOKEN AES_KEY APP_ID TIMESTAMP NONCE < message           the body, sealed
  wechat.py send API APP_ID SECRET OPENID TEXT
"""
import sys

from wechatpy import WeChatClient, parse_message
from wechatpy.crypto import WeChatCrypto

what, *rest = sys.argv[1:]
if what == "open":
    token, key, app, signature, timestamp, nonce = rest
    plain = WeChatCrypto(token, key, app).decrypt_message(sys.stdin.read(), signature, timestamp, nonce)
    print(parse_message(plain).content, end="")
elif what == "seal":
    token, key, app, timestamp, nonce = rest
    print(WeChatCrypto(token, key, app).encrypt_message(sys.stdin.read(), nonce, timestamp), end="")
else:
    api, app, secret, openid, text = rest
    client = WeChatClient(app, secret)
    client.API_BASE_URL = client.message.API_BASE_URL = api + "/cgi-bin/"
    # The SDK asks for its token at WeChat's own address, whatever its base is.
    client._fetch_access_token(api + "/cgi-bin/token", {"grant_type": "client_credential", "appid": app, "secret": secret})
    print(client.message.send_text(openid, text)["errcode"], end="")
