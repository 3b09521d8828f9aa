"""The developers' plane by its real clients in Python: openai (OpenAI, AzureOpenAI) and azure-ai-inference.
Usage: foundry.py URL KEY BUNDLE_FILE TASK (run by the interpreter that has them: scripts/fetch-clients)"""
import json
import sys

import openai
from azure.ai.inference import ChatCompletionsClient, EmbeddingsClient
from azure.ai.inference.models import JsonSchemaFormat, UserMessage
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError

from check import check, finish

url, key, bundle_file, task = sys.argv[1:]
bundle = open(bundle_file).read()
patient = json.dumps({"bundle": json.loads(bundle), "task": task})
ask = [{"role": "user", "content": patient}]

client = openai.OpenAI(base_url=f"{url}/openai/v1/", api_key=key, max_retries=0)
azure = openai.AzureOpenAI(azure_endpoint=url, api_key=key, api_version="2024-10-21", max_retries=0)


@check("py_openai_chat")
def _():
    made = client.chat.completions.create(model="vitae", messages=ask)
    answer = json.loads(made.choices[0].message.content)
    assert answer["task"] == task and made.usage.prompt_tokens == answer["events"]
    text = "".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(model="vitae", messages=ask, stream=True) if c.choices)
    assert json.loads(text)["probability"] == answer["probability"]


@check("py_openai_embeddings")
def _():
    a = client.embeddings.create(model="vitae", input=bundle).data[0].embedding
    b = client.embeddings.create(model="vitae", input=[bundle], encoding_format="float").data[0].embedding
    assert len(a) == len(b) > 8 and max(abs(x - y) for x, y in zip(a, b)) < 1e-6
    mean = client.embeddings.create(model="vitae", input=bundle, extra_body={"pooling": "mean"}).data[0].embedding
    assert mean != a


@check("py_openai_responses")
def _():
    made = client.responses.create(model="vitae", input=patient)
    assert json.loads(made.output_text)["task"] == task
    with client.responses.stream(model="vitae", input=patient) as stream:
        for _ in stream:
            pass
        assert json.loads(stream.get_final_response().output_text)["task"] == task


@check("py_openai_errors")
def _():
    for f, kind in ((lambda: client.chat.completions.create(model="none", messages=ask), openai.NotFoundError),
                    (lambda: openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0).models.list(), openai.AuthenticationError),
                    (lambda: client.chat.completions.create(model="vitae", messages=[{"role": "user", "content": "hello"}]), openai.BadRequestError),
                    (lambda: client.embeddings.create(model="vitae", input=bundle, dimensions=3), openai.UnprocessableEntityError)):
        try:
            f()
        except kind as e:
            assert e.request_id, "no request id"
        else:
            raise AssertionError(f"no {kind.__name__}")


@check("py_azure_openai")
def _():
    made = azure.chat.completions.create(model="vitae", messages=ask)
    assert json.loads(made.choices[0].message.content)["task"] == task
    assert azure.embeddings.create(model="vitae", input=bundle).data[0].embedding
    assert [m.id for m in azure.models.list()] == ["vitae"]


@check("py_azure_ai_inference")
def _():
    chat = ChatCompletionsClient(endpoint=f"{url}/models", credential=AzureKeyCredential(key))
    made = chat.complete(messages=[UserMessage(content=patient)], model="vitae")
    assert json.loads(made.choices[0].message.content)["task"] == task
    schema = {"type": "object", "properties": {"probability": {"type": ["number", "null"]}}, "required": ["probability"], "additionalProperties": False}
    made = chat.complete(messages=[UserMessage(content=patient)], response_format=JsonSchemaFormat(name="risk", schema=schema, strict=True))
    assert list(json.loads(made.choices[0].message.content)) == ["probability"]
    text = "".join(c.choices[0].delta.content or "" for c in chat.complete(messages=[UserMessage(content=patient)], stream=True) if c.choices)
    assert json.loads(text)["task"] == task
    assert chat.get_model_info().model_name == "vitae"
    embeddings = EmbeddingsClient(endpoint=f"{url}/models", credential=AzureKeyCredential(key))
    assert len(embeddings.embed(input=[bundle]).data[0].embedding) > 8
    try:
        chat.complete(messages=[UserMessage(content="hello")])
    except HttpResponseError as e:
        assert e.status_code == 400
    else:
        raise AssertionError("no error")


finish()
