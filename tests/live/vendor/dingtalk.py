"""DingTalk's own SDK for stream mode as a robot: it answers what customers write. dingtalk.py CLIENT_ID CLIENT_SECRET"""
import sys

import dingtalk_stream


class Robot(dingtalk_stream.ChatbotHandler):
    async def process(self, callback):
        message = dingtalk_stream.ChatbotMessage.from_dict(callback.data)
        self.reply_text("echo: " + message.text.content, message)
        return dingtalk_stream.AckMessage.STATUS_OK, "OK"


client = dingtalk_stream.DingTalkStreamClient(dingtalk_stream.Credential(sys.argv[1], sys.argv[2]))
client.register_callback_handler(dingtalk_stream.ChatbotMessage.TOPIC, Robot())
client.start_forever()
