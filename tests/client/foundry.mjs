// The developers' plane by its real clients in JavaScript: openai (OpenAI, AzureOpenAI) and @azure-rest/ai-inference.
// Usage: node foundry.mjs CLIENTS_DIR URL KEY TINY_KEY TOKEN BUNDLE_FILE METRICS_URL VIEWER_KEY TASK
import './webcrypto.mjs';
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {check, finish} from './check.mjs';
import assert from 'node:assert/strict';

const [clients, url, key, tiny, token, bundleFile, hospital, viewer, task] = process.argv.slice(2);
const require = createRequire(`${clients}/npm/`);
const {default: OpenAI, AzureOpenAI} = require('openai');
const {default: ModelClient, isUnexpected} = require('@azure-rest/ai-inference');
const {AzureKeyCredential} = require('@azure/core-auth');
const {createSseStream} = require('@azure/core-sse');
const bundle = readFileSync(bundleFile, 'utf8');
const patient = JSON.stringify({bundle: JSON.parse(bundle), task, outcomes: 5});
const ask = [{role: 'user', content: patient}];
const fails = async (promise, kind, test) => {
  try {
    await promise;
  } catch (e) {
    assert.equal(e.constructor.name, kind, e.message);
    test(e);
    return;
  }
  throw new Error('it did not fail');
};
const client = new OpenAI({baseURL: `${url}/openai/v1/`, apiKey: key, maxRetries: 0});
const azure = new AzureOpenAI({endpoint: url, apiKey: key, apiVersion: '2024-10-21', deployment: 'vitae', maxRetries: 0});
const risk = {
  type: 'object', additionalProperties: false, required: ['task', 'probability'],
  properties: {task: {type: 'string'}, probability: {type: ['number', 'null'], minimum: 0, maximum: 1}},
};
const schema = (s) => ({type: 'json_schema', json_schema: {name: 'risk', strict: true, schema: s}});

await check('js_openai_models', async () => {
  const list = await client.models.list();
  assert.deepEqual(list.data.map((m) => m.id), ['vitae']);
  assert.equal((await client.models.retrieve('vitae')).id, 'vitae');
  await fails(client.models.retrieve('none'), 'NotFoundError', (e) => assert.equal(e.code, 'DeploymentNotFound'));
});
await check('js_openai_chat', async () => {
  const {data, response} = await client.chat.completions.create({model: 'vitae', messages: ask}).withResponse();
  const answer = JSON.parse(data.choices[0].message.content);
  assert.equal(data.object, 'chat.completion');
  assert.equal(data.choices[0].finish_reason, 'stop');
  assert.equal(answer.task, task);
  assert.ok(answer.applies === false || (answer.probability >= 0 && answer.probability <= 1));
  assert.equal(answer.prediction.outcomes.length <= 5, true);
  assert.equal(data.usage.prompt_tokens, answer.events);
  assert.ok(data._request_id && response.headers.get('apim-request-id') === data._request_id);
  assert.ok(!data.choices[0].message.content.includes('Quetzal'));
});
await check('js_openai_chat_by_schema', async () => {
  const made = await client.chat.completions.create({model: 'vitae', messages: ask, response_format: schema(risk)});
  assert.deepEqual(Object.keys(JSON.parse(made.choices[0].message.content)).sort(), ['probability', 'task']);
  const never = {...risk, required: ['task', 'diagnosis'], properties: {...risk.properties, diagnosis: {type: 'string'}}};
  await fails(client.chat.completions.create({model: 'vitae', messages: ask, response_format: schema(never)}), 'UnprocessableEntityError', (e) => {
    assert.equal(e.param, 'response_format');
    assert.equal(e.code, 'parameter_not_supported');
  });
});
await check('js_openai_stream', async () => {
  const whole = await client.chat.completions.create({model: 'vitae', messages: ask, seed: 3});
  const stream = await client.chat.completions.create({model: 'vitae', messages: ask, seed: 3, stream: true, stream_options: {include_usage: true}});
  let text = '', usage, finish, role;
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    for (const c of chunk.choices) {
      assert.ok(c.delta);
      role ??= c.delta.role;
      text += c.delta.content ?? '';
      finish = c.finish_reason ?? finish;
    }
  }
  const plain = (s) => JSON.stringify({...JSON.parse(s), prediction: {...JSON.parse(s).prediction, subject: 0}, wall: 0});
  assert.equal(plain(text).length > 100, true);
  assert.equal(finish, 'stop');
  assert.equal(role, 'assistant');
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert.equal(JSON.parse(text).probability, JSON.parse(whole.choices[0].message.content).probability);
});
await check('js_openai_tools', async () => {
  const tools = [{type: 'function', function: {name: 'patient_record', description: 'The record as FHIR', parameters: {type: 'object', properties: {}}}}];
  const messages = [{role: 'user', content: 'How likely is it that this patient dies soon?'}];
  const first = await client.chat.completions.create({model: 'vitae', messages, tools});
  const call = first.choices[0].message.tool_calls[0];
  assert.equal(first.choices[0].finish_reason, 'tool_calls');
  assert.equal(call.function.name, 'patient_record');
  assert.deepEqual(JSON.parse(call.function.arguments), {});
  messages.push(first.choices[0].message, {role: 'tool', tool_call_id: call.id, content: bundle});
  const second = await client.chat.completions.create({model: 'vitae', messages, tools, metadata: {task}});
  assert.equal(JSON.parse(second.choices[0].message.content).task, task);
  const stream = client.chat.completions.stream({model: 'vitae', messages: messages.slice(0, 1), tools});
  assert.equal((await stream.finalChatCompletion()).choices[0].message.tool_calls[0].function.name, 'patient_record');
});
await check('js_ask_a_record', async () => {
  const patient = {birth: '1950-02-01', events: [
    {time: '2020-01-01T08:00:00', code: 'LOINC//2160-0', display: 'Creatinine', value: 1.4, unit: 'mg/dL'}, {time: '2020-03-01T08:00:00', code: 'LOINC//2160-0', display: 'Creatinine', value: 1.9, unit: 'mg/dL'}]};
  const say = (content, more) => client.chat.completions.create({model: 'vitae', messages: [{role: 'user', content}], tools: [{type: 'vitae_ask', patient, ...more}]});
  const a = (await say('What was the highest creatinine?')).choices[0];
  assert.match(a.message.content, /1\.9 mg\/dL.*\[e\d+\]/);
  assert.equal(a.finish_reason, 'stop');
  assert.match((await say('How many creatinine values are there?')).choices[0].message.content, /\b2\b/);
  assert.match((await say('Tell me a joke about somebody else.')).choices[0].message.content, /No answer|holds no/);
  const age = async (of) => (await say('How old is this patient?', {patient: of})).choices[0].message.content.match(/(\d+) years old/)[1];
  assert.equal(await age(JSON.parse(bundle)), await age(bundle)); // as JSON text too; the days are shifted anew each time
  const r = await client.responses.create({model: 'vitae', input: 'What was the highest creatinine?', tools: [{type: 'vitae_ask', patient}]});
  const dayless = (s) => s.replace(/\d{4}-\d\d-\d\d/g, 'DAY');
  assert.equal(dayless(r.output_text), dayless(a.message.content));
  assert.deepEqual(r.tools, [{type: 'vitae_ask'}]);
  for (const [more, param] of [[{subject: '1'}, 'tools'], [{patient: undefined}, 'tools.patient'], [{rounds: 9}, 'rounds'], [{path: '/etc/passwd'}, 'tools']])
    await fails(say('How old?', more), 'BadRequestError', (e) => assert.equal(e.param, param));
});
await check('js_openai_embeddings', async () => {
  const given = await client.embeddings.create({model: 'vitae', input: bundle}); // base64 on the wire
  const floats = await client.embeddings.create({model: 'vitae', input: [bundle, bundle], encoding_format: 'float'});
  const v = given.data[0].embedding, w = floats.data[1].embedding;
  assert.ok(v.length > 8 && v.length === w.length);
  v.forEach((x, i) => assert.ok(Math.abs(x - w[i]) < 1e-6));
  assert.equal((await client.embeddings.create({model: 'vitae', input: bundle, dimensions: v.length})).data[0].embedding.length, v.length);
  await fails(client.embeddings.create({model: 'vitae', input: bundle, dimensions: 7}), 'UnprocessableEntityError', (e) => assert.equal(e.param, 'dimensions'));
});
await check('js_openai_responses', async () => {
  const r = await client.responses.create({model: 'vitae', input: patient});
  assert.equal(r.status, 'completed');
  assert.equal(JSON.parse(r.output_text).task, task);
  assert.equal(r.store, false);
  const types = [];
  let last = -1, text = '', done;
  for await (const e of await client.responses.create({model: 'vitae', input: ask, stream: true, text: {format: {type: 'json_schema', name: 'risk', schema: risk}}})) {
    assert.equal(e.sequence_number, ++last);
    types.push(e.type);
    if (e.type === 'response.output_text.delta') text += e.delta;
    if (e.type === 'response.completed') done = e.response;
  }
  assert.deepEqual(types.slice(0, 4), ['response.created', 'response.in_progress', 'response.output_item.added', 'response.content_part.added']);
  assert.deepEqual(types.slice(-4), ['response.output_text.done', 'response.content_part.done', 'response.output_item.done', 'response.completed']);
  assert.equal(done.output[0].content[0].text, text);
  assert.deepEqual(Object.keys(JSON.parse(text)).sort(), ['probability', 'task']);
  const tools = [{type: 'function', name: 'patient_record', parameters: {type: 'object', properties: {}}, strict: false}];
  const call = await client.responses.create({model: 'vitae', input: 'Will this patient die soon?', tools});
  assert.equal(call.output[0].type, 'function_call');
  await fails(client.responses.create({model: 'vitae', input: patient, store: true}), 'UnprocessableEntityError', (e) => assert.equal(e.param, 'store'));
});
await check('js_openai_errors', async () => {
  await fails(new OpenAI({baseURL: `${url}/v1`, apiKey: 'vitae_wrong', maxRetries: 0}).models.list(), 'AuthenticationError', (e) => assert.equal(e.code, '401'));
  await fails(client.chat.completions.create({model: 'gpt-4', messages: ask}), 'NotFoundError', (e) => assert.equal(e.code, 'DeploymentNotFound'));
  await fails(client.chat.completions.create({model: 'vitae', messages: [{role: 'user', content: 'Quetzal is ill'}]}), 'BadRequestError', (e) => {
    assert.equal(e.param, 'messages');
    assert.ok(!JSON.stringify(e.error).includes('Quetzal'));
    assert.ok(e.requestID);
  });
  await fails(client.chat.completions.create({model: 'vitae', messages: ask, temperature: 9}), 'BadRequestError', (e) => assert.equal(e.param, 'temperature'));
  await fails(client.chat.completions.create({model: 'vitae', messages: ask, n: 2}), 'UnprocessableEntityError', (e) => assert.equal(e.param, 'n'));
});
await check('js_openai_rate_limit', async () => {
  const small = new OpenAI({baseURL: `${url}/openai/v1/`, apiKey: tiny, maxRetries: 0});
  let limited, headers;
  for (let i = 0; i < 1000 && !limited; i++) { // a new minute may begin
    try {
      headers = (await small.models.list().withResponse()).response.headers;
      assert.equal(headers.get('x-ratelimit-limit-requests'), '2');
    } catch (e) {
      limited = e;
    }
  }
  assert.equal(limited.constructor.name, 'RateLimitError');
  assert.equal(limited.code, '429');
  for (const name of ['x-ratelimit-limit-requests', 'x-ratelimit-remaining-requests', 'x-ratelimit-reset-requests', 'x-ratelimit-limit-tokens', 'x-ratelimit-remaining-tokens', 'x-ratelimit-reset-tokens', 'retry-after', 'retry-after-ms'])
    assert.ok(limited.headers.get(name) !== null, name);
  assert.ok(Number(limited.headers.get('retry-after')) <= 61);
});
await check('js_openai_retry_is_billed_once', async () => {
  const used = async () => (await (await fetch(`${url}/usage`, {headers: {'api-key': key}})).json()).usage.find((u) => u.key === key.split('_')[1]);
  const before = await used();
  let tries = 0;
  const flaky = new OpenAI({
    baseURL: `${url}/openai/v1/`, apiKey: key, maxRetries: 2,
    fetch: async (u, o) => {
      const answer = await fetch(u, o);
      if (++tries > 1) return answer;
      await answer.text(); // the answer was made, and got lost on its way
      throw new TypeError('connection lost');
    },
  });
  await flaky.chat.completions.create({model: 'vitae', messages: [{role: 'user', content: patient}], seed: 77});
  assert.equal(tries, 2);
  const after = await used();
  assert.equal(after.repeated - before.repeated, 1);
  assert.equal(after.requests - before.requests, 2); // the chat once, and the first look at the usage
});
await check('js_openai_cancellation', async () => {
  const dropped = async () => Number(/^vitae_model_dropped_total (\d+)/m.exec(await (await fetch(`${hospital}/metrics`, {headers: {'api-key': viewer}})).text())[1]);
  const before = await dropped();
  let left = false;
  for (let i = 0; i < 120 && !left; i++) { // a fast machine may have answered before we left, a slow one not have begun: 5 ms to 10 s, and again
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 5 * 1.3 ** (i % 30));
    const long = JSON.stringify({bundle: JSON.parse(bundle), task, futures: 2000, horizon_days: 3650});
    await client.chat.completions.create({model: 'vitae', messages: [{role: 'user', content: long}]}, {signal: abort.signal}).catch((e) => assert.equal(e.constructor.name, 'APIUserAbortError'));
    for (let k = 0; k < 20 && !left; k++) {
      await new Promise((r) => setTimeout(r, 50));
      left = (await dropped()) > before;
    }
  }
  assert.ok(left, 'nothing was dropped');
});
await check('js_openai_token_instead_of_a_key', async () => {
  const own = new OpenAI({baseURL: `${url}/openai/v1/`, apiKey: async () => token, maxRetries: 0});
  assert.equal((await own.models.list()).data[0].id, 'vitae');
  const broken = token.slice(0, -8) + (token.endsWith('AAAAAAAA') ? 'BBBBBBBB' : 'AAAAAAAA');
  await fails(new OpenAI({baseURL: `${url}/openai/v1/`, apiKey: async () => broken, maxRetries: 0}).models.list(), 'AuthenticationError', () => {});
});
await check('js_azure_openai', async () => {
  const made = await azure.chat.completions.create({model: 'ignored', messages: ask});
  assert.equal(JSON.parse(made.choices[0].message.content).task, task);
  assert.equal(made.model, 'vitae');
  let text = '';
  for await (const chunk of await azure.chat.completions.create({model: 'vitae', messages: ask, stream: true})) text += chunk.choices[0]?.delta?.content ?? '';
  assert.equal(JSON.parse(text).task, task);
  assert.ok((await azure.embeddings.create({model: 'vitae', input: bundle})).data[0].embedding.length > 8);
  const plain = new AzureOpenAI({endpoint: url, apiKey: key, apiVersion: '2024-10-21', maxRetries: 0});
  assert.equal((await plain.models.list()).data[0].id, 'vitae');
  assert.equal((await plain.responses.create({model: 'vitae', input: patient})).status, 'completed');
  const old = new AzureOpenAI({endpoint: url, apiKey: key, apiVersion: '1999-01-01', maxRetries: 0});
  await fails(old.models.list(), 'BadRequestError', (e) => assert.equal(e.code, 'UnsupportedApiVersionValue'));
});
await check('js_azure_rest_ai_inference', async () => {
  const c = ModelClient(`${url}/models`, new AzureKeyCredential(key), {allowInsecureConnection: true});
  const made = await c.path('/chat/completions').post({body: {messages: ask, model: 'vitae'}});
  assert.ok(!isUnexpected(made), JSON.stringify(made.body));
  assert.equal(JSON.parse(made.body.choices[0].message.content).task, task);
  const emb = await c.path('/embeddings').post({body: {input: [bundle]}});
  assert.ok(emb.body.data[0].embedding.length > 8);
  const info = await c.path('/info').get({queryParameters: {model: 'vitae'}});
  assert.equal(info.body.model_name, 'vitae');
  const stream = await c.path('/chat/completions').post({body: {messages: ask, stream: true}}).asNodeStream();
  let text = '', end = false;
  for await (const e of createSseStream(stream.body)) {
    if (e.data === '[DONE]') { end = true; break; }
    for (const choice of JSON.parse(e.data).choices) text += choice.delta?.content ?? '';
  }
  assert.ok(end);
  assert.equal(JSON.parse(text).task, task);
  const bad = await c.path('/chat/completions').post({body: {messages: ask, made_up: 1}});
  assert.ok(isUnexpected(bad));
  assert.equal(bad.status, '400');
  const dropped = await c.path('/chat/completions').post({body: {messages: ask, made_up: 1}, headers: {'extra-parameters': 'drop'}});
  assert.equal(dropped.status, '200');
  const not = await c.path('/chat/completions').post({body: {messages: ask, n: 3}});
  assert.equal(not.status, '422');
  assert.deepEqual(not.body.detail[0].loc, ['body', 'n']);
});
finish();
