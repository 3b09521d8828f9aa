"""azure-ai-inference with an azure-core TokenCredential, over TLS: a bearer token of the tests' issuer.
Usage: foundry_token.py HTTPS_URL TOKEN REFUSED_TOKEN BUNDLE_FILE TASK CA"""
import json, sys, time
from azure.ai.inference import ChatCompletionsClient, EmbeddingsClient
from azure.ai.inference.models import UserMessage
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from check import check, finish

url, token, refused, bundle_file, task, ca = sys.argv[1:]
bundle = open(bundle_file).read()
ask = [UserMessage(content=json.dumps({"bundle": json.loads(bundle), "task": task}))]
asked = set()


class Credential:  # azure.core.credentials.TokenCredential
    def __init__(self, value):
        self.value = value

    def get_token(self, *scopes, **_):
        asked.update(scopes)
        return AccessToken(self.value, int(time.time()) + 3600)



def of(kind, value):
    return kind(endpoint=f"{url}/models", credential=Credential(value), connection_verify=ca)


@check("py_azure_token_credential_over_tls")
def _():
    chat = of(ChatCompletionsClient, token)
    assert json.loads(chat.complete(messages=ask, model="vitae").choices[0].message.content)["task"] == task
    said = "".join(c.delta.content or "" for u in chat.complete(messages=ask, stream=True) for c in u.choices)
    assert json.loads(said)["task"] == task
    assert len(of(EmbeddingsClient, token).embed(input=[bundle]).data[0].embedding) > 8
    assert asked == {"https://ml.azure.com/.default"}, asked


@check("py_azure_token_credential_that_is_refused")
def _():
    try:
        of(ChatCompletionsClient, refused).complete(messages=ask)
    except ClientAuthenticationError as e:
        assert e.status_code == 401 and refused not in str(e)
        return
    raise AssertionError("a token for somebody else was taken")


finish()
