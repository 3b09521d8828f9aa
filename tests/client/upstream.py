"""One language model asked directly and through a second server that has the first as its upstream: the same words.
Usage: upstream.py FIRST_URL SECOND_URL KEY MODEL NAME_AT_THE_SECOND"""
import json
import sys

import openai

from check import check, finish

first, second, key, model, name = sys.argv[1:]
a, b = (openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) for url in (first, second))
hello = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "Name two colours."}]
tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}]


@check("upstream_chat_and_stream")
def _():
    one = a.chat.completions.create(model=model, messages=hello, max_tokens=8, stop=["zzz"])
    two = b.chat.completions.create(model=name, messages=hello, max_tokens=8, stop=["zzz"])
    assert one.choices[0].message.content == two.choices[0].message.content and one.choices[0].finish_reason == two.choices[0].finish_reason
    assert (one.usage.prompt_tokens, one.usage.completion_tokens) == (two.usage.prompt_tokens, two.usage.completion_tokens)
    chunks = [c.choices[0].delta.content for c in b.chat.completions.create(model=name, messages=hello, max_tokens=8, stream=True) if c.choices and c.choices[0].delta.content]
    assert len(chunks) > 1 and "".join(chunks) == two.choices[0].message.content


@check("upstream_schema_and_functions")
def _():
    schema = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"], "additionalProperties": False}
    made = b.chat.completions.create(model=name, messages=hello, max_tokens=20, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert list(json.loads(made.choices[0].message.content)) == ["sure"]
    made = b.chat.completions.create(model=name, messages=hello, tools=tools, tool_choice="required", max_tokens=40)
    call = made.choices[0].message.tool_calls[0]
    assert made.choices[0].finish_reason == "tool_calls" and call.function.name == "add" and set(json.loads(call.function.arguments)) == {"a"}
    again = hello + [made.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "5"}]
    assert b.chat.completions.create(model=name, messages=again, tools=tools, tool_choice="none", max_tokens=4).choices[0].message.content


@check("upstream_failures_are_told")
def _():
    for options, kind in (({"messages": [{"role": "user", "content": "word " * 9000}]}, openai.BadRequestError), ({"messages": hello, "logprobs": True}, openai.UnprocessableEntityError)):
        try:
            b.chat.completions.create(model=name, **options)
        except kind:
            continue
        raise AssertionError(f"no {kind.__name__}")


finish()
