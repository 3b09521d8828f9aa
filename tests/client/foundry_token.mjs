// Azure's own client with a TokenCredential, which it takes over TLS only: a bearer token of the tests' issuer, and of a provider that runs (issuer.mjs).
// Usage: NODE_EXTRA_CA_CERTS=CA node foundry_token.mjs CLIENTS_DIR HTTPS_URL TOKEN REFUSED_TOKEN BUNDLE_FILE TASK TOKEN_ENDPOINT
import './webcrypto.mjs';
import {readFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {check, finish} from './check.mjs';
import assert from 'node:assert/strict';

const [clients, url, token, refused, bundleFile, task, endpoint] = process.argv.slice(2);
const require = createRequire(`${clients}/npm/`);
const {default: OpenAI, AzureOpenAI} = require('openai');
const {default: ModelClient, isUnexpected} = require('@azure-rest/ai-inference');
const {createSseStream} = require('@azure/core-sse');
const bundle = readFileSync(bundleFile, 'utf8');
const ask = [{role: 'user', content: JSON.stringify({bundle: JSON.parse(bundle), task})}];
const asked = [];
const credential = (value) => ({
  getToken: async (scopes) => {
    asked.push(...[scopes].flat());
    return {token: value, expiresOnTimestamp: Date.now() + 3600e3};
  },
});

assert.ok(url.startsWith('https://'));
await check('js_azure_token_credential_over_tls', async () => {
  const c = ModelClient(`${url}/models`, credential(token));
  const made = await c.path('/chat/completions').post({body: {messages: ask, model: 'vitae'}});
  assert.ok(!isUnexpected(made), JSON.stringify(made.body));
  assert.equal(JSON.parse(made.body.choices[0].message.content).task, task);
  assert.ok((await c.path('/embeddings').post({body: {input: [bundle]}})).body.data[0].embedding.length > 8);
  const stream = await c.path('/chat/completions').post({body: {messages: ask, stream: true}}).asNodeStream();
  let text = '';
  for await (const e of createSseStream(stream.body)) {
    if (e.data === '[DONE]') break;
    for (const choice of JSON.parse(e.data).choices) text += choice.delta?.content ?? '';
  }
  assert.equal(JSON.parse(text).task, task);
  assert.deepEqual([...new Set(asked)], ['https://ml.azure.com/.default']);
});
await check('js_azure_token_credential_that_is_refused', async () => {
  const bad = await ModelClient(`${url}/models`, credential(refused)).path('/chat/completions').post({body: {messages: ask}});
  assert.equal(bad.status, '401');
  assert.ok(!JSON.stringify(bad.body).includes(refused));
});
await check('js_azure_openai_token_provider_over_tls', async () => {
  const azure = new AzureOpenAI({endpoint: url, azureADTokenProvider: async () => token, apiVersion: '2024-10-21', deployment: 'vitae', maxRetries: 0});
  assert.equal(JSON.parse((await azure.chat.completions.create({model: 'vitae', messages: ask})).choices[0].message.content).task, task);
  const own = new OpenAI({baseURL: `${url}/openai/v1/`, apiKey: async () => token, maxRetries: 0});
  assert.equal((await own.models.list()).data[0].id, 'vitae');
});
// as a service does at Entra ID: client credentials for the scope that the client names
const live = async (scope) => {
  const form = new URLSearchParams({grant_type: 'client_credentials', scope: 'vitae', resource: scope.replace(/\/\.default$/, '')});
  const answer = await fetch(endpoint, {method: 'POST', body: form, headers: {Authorization: `Basic ${Buffer.from('research:only-for-tests').toString('base64')}`}});
  const {access_token: value, expires_in: seconds} = await answer.json();
  return {token: value, expiresOnTimestamp: Date.now() + 1000 * seconds};
};
await check('js_azure_clients_with_a_live_issuer', async () => {
  const made = await ModelClient(`${url}/models`, {getToken: (scopes) => live([scopes].flat()[0])}).path('/chat/completions').post({body: {messages: ask, model: 'vitae'}});
  assert.ok(!isUnexpected(made), JSON.stringify(made.body));
  const azureADTokenProvider = async () => (await live('https://cognitiveservices.azure.com/.default')).token;
  const azure = new AzureOpenAI({endpoint: url, azureADTokenProvider, apiVersion: '2024-10-21', deployment: 'vitae', maxRetries: 0});
  assert.equal(JSON.parse((await azure.chat.completions.create({model: 'vitae', messages: ask})).choices[0].message.content).task, task);
});
finish();
