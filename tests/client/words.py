"""Language models behind the developers' plane by openai's and Azure's clients in Python.
Usage: words.py URL KEY MODEL ENCODER (run by the interpreter that has them: scripts/fetch-clients)"""
import json
import sys

import openai
from azure.ai.inference import ChatCompletionsClient, EmbeddingsClient
from azure.ai.inference.models import ChatCompletionsToolDefinition, FunctionDefinition, SystemMessage, UserMessage
from azure.core.credentials import AzureKeyCredential

from check import check, finish

url, key, model, encoder = sys.argv[1:]
hello = [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "Name the capital of France."}]

client = openai.OpenAI(base_url=f"{url}/openai/v1/", api_key=key, max_retries=0)
azure = openai.AzureOpenAI(azure_endpoint=url, api_key=key, api_version="2024-10-21", max_retries=0)


@check("py_words_openai")
def _():
    made = client.chat.completions.create(model=model, messages=hello, max_tokens=5, logprobs=True)
    assert made.choices[0].message.content and len(made.choices[0].logprobs.content) == made.usage.completion_tokens - (made.choices[0].finish_reason == "stop")
    chunks = [c.choices[0].delta.content for c in client.chat.completions.create(model=model, messages=hello, max_tokens=5, stream=True) if c.choices and c.choices[0].delta.content]
    assert "".join(chunks) == made.choices[0].message.content
    assert azure.chat.completions.create(model=model, messages=hello, max_tokens=5).choices[0].message.content == made.choices[0].message.content
    with client.responses.stream(model=model, input="Say hello.", max_output_tokens=4) as stream:
        types = [e.type for e in stream]
        assert types.count("response.output_text.delta") >= 2 and types[-1] in ("response.completed", "response.incomplete")


@check("py_words_tool_in_a_loop")
def _():
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}}}]
    messages = [{"role": "user", "content": "What is 2 plus 3?"}]
    made = client.chat.completions.create(model=model, messages=messages, tools=tools, tool_choice="required", max_tokens=60)
    call = made.choices[0].message.tool_calls[0]
    assert set(json.loads(call.function.arguments)) == {"a", "b"}
    messages += [made.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "5"}]
    assert client.chat.completions.create(model=model, messages=messages, tools=tools, tool_choice="none", max_tokens=6).choices[0].message.content


@check("py_words_responses_logprobs_states_and_a_record")
def _():
    made = client.responses.create(model=model, input="Say hello.", max_output_tokens=4, include=["message.output_text.logprobs"], top_logprobs=1)
    tokens = made.output[0].content[0].logprobs
    assert len(tokens) >= 2 and all(t.logprob <= 0 and len(t.top_logprobs) == 1 for t in tokens)
    mean, last = (client.embeddings.create(model=model, input=["sepsis"], extra_body={"pooling": p}).data[0].embedding for p in ("mean", "last"))
    assert len(mean) == len(last) > 100 and abs(sum(x * x for x in mean) - 1) < 1e-3 and mean != last
    record = {"birth": "1950-02-01", "events": [{"time": "2020-01-01T08:00:00", "code": "LOINC//2160-0", "display": "Creatinine", "value": 1.4, "unit": "mg/dL"}]}
    said = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "latest creatinine"}], tools=[{"type": "vitae_ask", "patient": record}])
    assert "1.4 mg/dL" in said.choices[0].message.content and "[e" in said.choices[0].message.content


@check("py_words_azure_ai_inference")
def _():
    chat = ChatCompletionsClient(endpoint=f"{url}/models", credential=AzureKeyCredential(key))
    said = [SystemMessage(content="Answer in one word."), UserMessage(content="Name the capital of France.")]
    made = chat.complete(messages=said, model=model, max_tokens=5)
    text = "".join(c.choices[0].delta.content or "" for c in chat.complete(messages=said, model=model, max_tokens=5, stream=True) if c.choices)
    assert text == made.choices[0].message.content
    tool = ChatCompletionsToolDefinition(function=FunctionDefinition(name="now", description="The time", parameters={"type": "object", "properties": {}}))
    assert chat.complete(messages=said, model=model, tools=[tool], tool_choice="required", max_tokens=40).choices[0].message.tool_calls[0].function.name == "now"
    embeddings = EmbeddingsClient(endpoint=f"{url}/models", credential=AzureKeyCredential(key))
    assert len(embeddings.embed(input=["sepsis"], model=encoder).data[0].embedding) == 384


finish()
