// Language models behind the developers' plane by openai's and Azure's clients in JavaScript.
// Usage: node words.mjs CLIENTS_DIR URL KEY OTHER_TENANT'S_KEY MODEL ENCODER HOSPITAL_URL ADMIN_KEY
import './webcrypto.mjs';
import {createRequire} from 'node:module';
import {check, finish} from './check.mjs';
import assert from 'node:assert/strict';

const [clients, url, key, other, model, encoder, hospital, admin] = process.argv.slice(2);
const require = createRequire(`${clients}/npm/`);
const {default: OpenAI, AzureOpenAI} = require('openai');
const {default: ModelClient, isUnexpected} = require('@azure-rest/ai-inference');
const {AzureKeyCredential} = require('@azure/core-auth');
const {createSseStream} = require('@azure/core-sse');
const refused = async (promise, status, param) => {
  try {
    await promise;
  } catch (e) {
    assert.equal(e.status, status, e.message);
    assert.equal(e.param, param);
    return;
  }
  throw new Error('it was not refused');
};
const client = new OpenAI({baseURL: `${url}/openai/v1/`, apiKey: key, maxRetries: 0});
const hello = [{role: 'user', content: 'Name the capital of France in one word.'}];
const say = (more) => client.chat.completions.create({model, messages: hello, max_tokens: 6, ...more});
const rows = async (query) => (await (await fetch(`${hospital}/v1/audit?limit=50&${query}`, {headers: {'api-key': admin}})).json()).rows;
const until = async (f) => {
  for (let i = 0; i < 6000; i++) {
    if (await f()) return;
    await new Promise((r) => setTimeout(r, 100));
  }
  throw new Error('it did not come about');
};

await check('js_words_models', async () => {
  const ids = (await client.models.list()).data.map((m) => m.id);
  assert.ok(ids.includes('vitae') && ids.includes(model) && ids.includes(encoder));
  assert.match((await client.models.retrieve(model)).version, new RegExp(`^${model}@[0-9a-f]{12}$`));
});
await check('js_words_chat_and_usage', async () => {
  const a = await say({logprobs: true, top_logprobs: 2}), b = await say({});
  const c = a.choices[0];
  assert.equal(c.message.content, b.choices[0].message.content);
  assert.equal(c.finish_reason === 'stop' || c.finish_reason === 'length', true);
  assert.equal(c.logprobs.content.length >= 1 && c.logprobs.content.length <= 6, true);
  for (const t of c.logprobs.content) assert.ok(t.logprob <= 0 && t.top_logprobs.length === 2 && t.top_logprobs[0].logprob >= t.logprob - 1e-6);
  assert.equal(b.usage.total_tokens, b.usage.prompt_tokens + b.usage.completion_tokens);
  assert.equal(b.usage.prompt_tokens_details.cached_tokens, b.usage.prompt_tokens - 1); // all but the last, whose logits are wanted
});
await check('js_words_prefix_of_another_tenant_is_not_used', async () => {
  const o = new OpenAI({baseURL: `${url}/openai/v1/`, apiKey: other, maxRetries: 0});
  const a = await o.chat.completions.create({model, messages: hello, max_tokens: 1});
  assert.equal(a.usage.prompt_tokens_details.cached_tokens, 0);
});
await check('js_words_stream', async () => {
  const whole = (await say({})).choices[0].message.content;
  let text = '', chunks = 0, usage, finish;
  for await (const chunk of await say({stream: true, stream_options: {include_usage: true}})) {
    usage = chunk.usage ?? usage;
    finish = chunk.choices[0]?.finish_reason ?? finish;
    if (chunk.choices[0]?.delta.content) text += chunk.choices[0].delta.content, chunks++;
  }
  assert.equal(text, whole);
  assert.ok(chunks >= 1 && usage.completion_tokens >= chunks && finish);
});
await check('js_words_stop_seed_temperature', async () => {
  const count = [{role: 'user', content: 'Repeat exactly: alpha beta gamma delta'}];
  const a = await say({messages: count, max_tokens: 24, temperature: 1.2, seed: 5}), b = await say({messages: count, max_tokens: 24, temperature: 1.2, seed: 5});
  assert.equal(a.choices[0].message.content, b.choices[0].message.content);
  const text = a.choices[0].message.content, word = text.trim().split(/\s+/)[1];
  const cut = await say({messages: count, max_tokens: 24, temperature: 1.2, seed: 5, stop: [word]});
  assert.equal(cut.choices[0].finish_reason, 'stop');
  assert.equal(cut.choices[0].message.content, text.slice(0, text.indexOf(word)));
  assert.equal((await say({max_tokens: 1})).usage.completion_tokens, 1);
});
await check('js_words_json_schema', async () => {
  const schema = {type: 'object', additionalProperties: false, required: ['city', 'sure'], properties: {city: {enum: ['Paris', 'Rome']}, sure: {type: 'boolean'}}};
  const form = {type: 'json_schema', json_schema: {name: 'city', strict: true, schema}};
  const a = JSON.parse((await say({response_format: form, max_tokens: 40})).choices[0].message.content);
  assert.deepEqual(Object.keys(a), ['city', 'sure']);
  assert.ok(['Paris', 'Rome'].includes(a.city) && typeof a.sure === 'boolean');
  form.json_schema.schema = {type: 'string', pattern: 'x'};
  await refused(say({response_format: form}), 422, 'response_format');
});
await check('js_words_tools', async () => {
  const tools = [{type: 'function', function: {name: 'weather', description: 'Weather of a city', parameters: {type: 'object', properties: {city: {type: 'string', maxLength: 24}}}}}];
  const messages = [{role: 'user', content: 'What is the weather in Paris?'}];
  const first = await say({messages, tools, tool_choice: {type: 'function', function: {name: 'weather'}}, max_tokens: 60});
  const call = first.choices[0].message.tool_calls[0];
  assert.equal(first.choices[0].finish_reason, 'tool_calls');
  assert.equal(call.function.name, 'weather');
  assert.equal(typeof JSON.parse(call.function.arguments).city, 'string');
  messages.push(first.choices[0].message, {role: 'tool', tool_call_id: call.id, content: '{"celsius": 21}'});
  const second = await say({messages, tools, tool_choice: 'none', max_tokens: 8});
  assert.ok(second.choices[0].message.content.length > 0);
  assert.ok(!second.choices[0].message.tool_calls);
  const stream = client.chat.completions.stream({model, messages: messages.slice(0, 1), tools, tool_choice: 'required', max_tokens: 60});
  assert.equal((await stream.finalChatCompletion()).choices[0].message.tool_calls[0].function.name, 'weather');
  await refused(say({tools, tool_choice: {type: 'function', function: {name: 'none'}}}), 400, 'tool_choice');
  await refused(say({tools, tool_choice: 'requird'}), 400, 'tool_choice');
  await refused(say({tool_choice: 'required'}), 400, 'tool_choice');
  await refused(say({tools, tool_choice: {type: 'allowed_tools', allowed_tools: {mode: 'required', tools: []}}}), 422, 'tool_choice');
  for (const parameters of [{$defs: {p: {type: 'object'}}, $ref: '#/$defs/p'}, {type: 'object', required: ['mg']}])
    await refused(say({tools: [{type: 'function', function: {name: 'dose', parameters}}], tool_choice: 'required'}), 422, 'tools');
});
await check('js_words_responses', async () => {
  const r = await client.responses.create({model, input: 'Say hello.', max_output_tokens: 5});
  assert.ok(r.output_text.length > 0 && r.usage.output_tokens <= 5);
  const types = [];
  for await (const e of await client.responses.create({model, input: 'Say hello.', max_output_tokens: 5, stream: true})) types.push(e.type);
  assert.ok(types.filter((t) => t === 'response.output_text.delta').length >= 2);
  assert.ok(['response.completed', 'response.incomplete'].includes(types.at(-1)));
});
await check('js_words_responses_logprobs', async () => {
  const asked = {model, input: 'Say hello.', max_output_tokens: 5, include: ['message.output_text.logprobs'], top_logprobs: 2};
  const part = (await client.responses.create(asked)).output[0].content[0];
  assert.ok(part.logprobs.length >= 2 && part.logprobs.length <= 5);
  for (const t of part.logprobs) assert.ok(t.logprob <= 0 && Array.isArray(t.bytes) && t.top_logprobs.length === 2 && t.top_logprobs[0].logprob >= t.logprob - 1e-6);
  assert.ok(Buffer.from(part.logprobs.flatMap((t) => t.bytes)).toString().includes(part.text));
  const chat = (await client.chat.completions.create({model, messages: [{role: 'user', content: 'Say hello.'}], max_tokens: 5, logprobs: true, top_logprobs: 2})).choices[0];
  assert.deepEqual(part.logprobs.map((t) => t.token), chat.logprobs.content.map((t) => t.token)); // the other dialect's words
  let done, deltas = [];
  for await (const e of await client.responses.create({...asked, stream: true})) {
    if (e.type === 'response.output_text.delta') deltas.push(...e.logprobs);
    if (e.type === 'response.output_text.done') done = e;
  }
  assert.deepEqual(done.logprobs.map((t) => t.token), part.logprobs.map((t) => t.token));
  assert.deepEqual(deltas, done.logprobs.slice(0, deltas.length));
  assert.ok(deltas.length >= 2);
  assert.deepEqual((await client.responses.create({...asked, include: undefined, top_logprobs: undefined})).output[0].content[0].logprobs, []);
  await refused(client.responses.create({...asked, top_logprobs: 21}), 400, 'top_logprobs');
});
await check('js_words_ask_a_record', async () => {
  const patient = {birth: '1950-02-01', events: [
    {time: '2020-01-01T08:00:00', code: 'LOINC//2160-0', display: 'Creatinine', value: 1.4, unit: 'mg/dL'},
    {time: '2020-03-01T08:00:00', code: 'LOINC//2160-0', display: 'Creatinine', value: 1.9, unit: 'mg/dL'}]};
  const tools = [{type: 'vitae_ask', patient}], question = [{role: 'user', content: 'What was the highest creatinine?'}];
  const a = await client.chat.completions.create({model, messages: question, tools});
  assert.match(a.choices[0].message.content, /1\.9 mg\/dL.*\[e\d+\]/); // the record's own words first, whatever the model adds
  assert.equal(a.choices[0].finish_reason, 'stop');
  assert.ok(!/(?<![.\d])(ignore|subject)/i.test(a.choices[0].message.content));
  const r = await client.responses.create({model, input: 'What was the highest creatinine?', tools});
  assert.match(r.output_text, /1\.9 mg\/dL.*\[e\d+\]/);
  assert.ok(!JSON.stringify(r.tools).includes('2160')); // the record is not sent back
  let text = '';
  for await (const x of await client.chat.completions.create({model, messages: question, tools, stream: true})) text += x.choices[0]?.delta?.content ?? '';
  assert.match(text, /1\.9 mg\/dL/);
  await refused(client.chat.completions.create({model, messages: question, tools: [{...tools[0], subject: '7'}]}), 400, 'tools');
  await refused(client.chat.completions.create({model, messages: question, tools: [...tools, {type: 'function', function: {name: 'f'}}]}), 422, 'tools');
  await refused(client.chat.completions.create({model, messages: question, tools, logprobs: true}), 422, 'logprobs');
});
await check('js_words_embeddings', async () => {
  const v = (await client.embeddings.create({model: encoder, input: ['heart failure', 'cardiac failure', 'a bicycle']})).data.map((d) => d.embedding);
  const dot = (a, b) => a.reduce((s, x, i) => s + x * b[i], 0);
  assert.ok(Math.abs(dot(v[0], v[0]) - 1) < 1e-4 && dot(v[0], v[1]) > dot(v[0], v[2]));
  await refused(client.embeddings.create({model: encoder, input: 'x', pooling: 'last'}), 422, 'pooling');
  // a decoder's: the mean of its states, or the last token's
  const of = async (input, more) => (await client.embeddings.create({model, input, ...more})).data.map((d) => d.embedding);
  const [mean, last] = [await of(['heart failure', 'cardiac failure', 'a bicycle']), await of(['heart failure'], {pooling: 'last'})];
  assert.ok(mean[0].length === last[0].length && mean[0].length > 100);
  for (const x of [...mean, ...last]) assert.ok(Math.abs(dot(x, x) - 1) < 1e-3);
  assert.ok(dot(mean[0], mean[1]) > dot(mean[0], mean[2]) && dot(mean[0], last[0]) < 0.999);
  assert.deepEqual((await of('heart failure'))[0].length, mean[0].length);
  await refused(client.embeddings.create({model, input: ''}), 400, 'input');
  await refused(client.chat.completions.create({model: encoder, messages: hello}), 422, 'model');
});
await check('js_words_refusals', async () => {
  await refused(say({n: 2}), 422, 'n');
  await refused(say({frequency_penalty: 1}), 422, 'frequency_penalty');
  await refused(say({messages: [{role: 'user', content: 'word '.repeat(9000)}]}), 400, 'messages');
});
await check('js_words_many_at_once', async () => {
  const alone = (await say({})).choices[0].message.content;
  const all = await Promise.all(Array.from({length: 6}, (_, i) => say({seed: i + 1})));
  for (const a of all) assert.equal(a.choices[0].message.content, alone);
});
await check('js_words_frames_leave_before_the_end_and_a_client_may_go', async () => {
  // a thousand tokens are asked for; the client hears a few and leaves: the audit says that few were made
  const long = {messages: [{role: 'user', content: 'Write a very long story about a river.'}], max_tokens: 1000};
  const stream = await say({...long, stream: true});
  const id = stream.response?.headers.get('x-request-id');
  let heard = 0;
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content && ++heard === 4) break;
  await until(async () => (await rows('status=499')).some((r) => r.route === '/openai/v1/chat/completions' && r.tokens_out >= 4 && r.tokens_out < 1000));
  const began = (await rows('status=100')).length;
  assert.ok(began >= 1, id);
  const before = (await rows('status=499')).length, abort = new AbortController(); // whole answers too, while they are made
  const answer = client.chat.completions.create({model, ...long}, {signal: abort.signal}).catch((e) => assert.equal(e.constructor.name, 'APIUserAbortError'));
  await until(async () => (await (await fetch(`${hospital}/v1/live`, {headers: {'api-key': admin}})).text()).includes('chat')); // not before it has come
  abort.abort();
  await answer;
  await until(async () => (await rows('status=499')).length > before);
});
await check('js_words_azure', async () => {
  const azure = new AzureOpenAI({endpoint: url, apiKey: key, apiVersion: '2024-10-21', deployment: model, maxRetries: 0});
  assert.ok((await azure.chat.completions.create({model, messages: hello, max_tokens: 3})).choices[0].message.content.length > 0);
  const c = ModelClient(`${url}/models`, new AzureKeyCredential(key), {allowInsecureConnection: true});
  const made = await c.path('/chat/completions').post({body: {messages: hello, model, max_tokens: 3}});
  assert.ok(!isUnexpected(made), JSON.stringify(made.body));
  const stream = await c.path('/chat/completions').post({body: {messages: hello, model, max_tokens: 3, stream: true}}).asNodeStream();
  let text = '', end = false;
  for await (const e of createSseStream(stream.body)) {
    if (e.data === '[DONE]') { end = true; break; }
    for (const choice of JSON.parse(e.data).choices) text += choice.delta?.content ?? '';
  }
  assert.ok(end);
  assert.equal(text, made.body.choices[0].message.content);
});
finish();
