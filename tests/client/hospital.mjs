// The hospital's plane by real clients: jose signs as CDS clients do; fhirclient logs in to the same EHR as our app does, which says that the EHR is one.
// Usage: node hospital.mjs keys CLIENTS DIR            writes DIR/jwks.json and the private keys
//        node hospital.mjs tokens CLIENTS DIR AUD      prints "name token" lines: good_*, bad_*
//        node hospital.mjs smart CLIENTS EHR PATIENT LAUNCH
import './webcrypto.mjs';
import {readFileSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {createRequire} from 'node:module';
import {pathToFileURL} from 'node:url';
import assert from 'node:assert/strict';

const [what, clients, ...rest] = process.argv.slice(2);
const require = createRequire(`${clients}/npm/`);
const jose = await import(pathToFileURL(require.resolve('jose')).href);
const issuer = 'https://ehr.example';

async function keys(dir) {
  const set = [], own = {};
  for (const [kid, alg] of [['ec', 'ES384'], ['rsa', 'RS384'], ['stranger', 'ES384']]) {
    const {publicKey, privateKey} = await jose.generateKeyPair(alg, {extractable: true});
    own[kid] = await jose.exportJWK(privateKey);
    if (kid !== 'stranger') set.push({...(await jose.exportJWK(publicKey)), kid, alg, use: 'sig'});
  }
  writeFileSync(`${dir}/jwks.json`, JSON.stringify({keys: set}));
  writeFileSync(`${dir}/private.json`, JSON.stringify(own));
}

async function tokens(dir, aud) {
  const own = JSON.parse(readFileSync(`${dir}/private.json`, 'utf8')), now = Math.floor(Date.now() / 1000);
  let n = 0;
  const sign = async (kid, alg, change = {}, head = {}) => {
    const claims = {iss: issuer, aud, iat: now, exp: now + 240, jti: `${now}-${process.pid}-${n++}`, ...change};
    for (const k of Object.keys(claims)) if (claims[k] === undefined) delete claims[k];
    return new jose.SignJWT(claims).setProtectedHeader({alg, kid, typ: 'JWT', ...head}).sign(await jose.importJWK(own[kid], alg));
  };
  const hmac = new jose.SignJWT({iss: issuer, aud, iat: now, exp: now + 240, jti: 'h'}).setProtectedHeader({alg: 'HS384', kid: 'rsa'}).sign(new TextEncoder().encode(readFileSync(`${dir}/jwks.json`, 'utf8')));
  for (const [name, t] of Object.entries({
    good_es384: sign('ec', 'ES384'), good_rs384: sign('rsa', 'RS384'), good_list: sign('ec', 'ES384', {aud: ['https://other.example', aud]}),
    good_epic: sign('rsa', 'RS384', {sub: issuer, nbf: now - 5}, {jku: 'https://ehr.example/jwks'}),
    bad_expired: sign('ec', 'ES384', {exp: now - 120}), bad_long: sign('ec', 'ES384', {exp: now + 86400}), bad_future: sign('ec', 'ES384', {iat: now + 600}),
    bad_no_exp: sign('ec', 'ES384', {exp: undefined}), bad_no_iat: sign('ec', 'ES384', {iat: undefined}), bad_no_jti: sign('ec', 'ES384', {jti: undefined}),
    bad_audience: sign('ec', 'ES384', {aud: `${aud}/feedback`}), bad_issuer: sign('ec', 'ES384', {iss: 'https://elsewhere.example'}),
    bad_alg: sign('rsa', 'RS256'), bad_key: sign('stranger', 'ES384', {}, {kid: 'ec'}), bad_jku: sign('stranger', 'ES384', {}, {jku: 'https://evil.example/jwks'}), bad_hmac: hmac,
    bad_none: Promise.resolve(new jose.UnsecuredJWT({iss: issuer, aud, iat: now, exp: now + 240, jti: 'n'}).encode()),
  })) console.log(`${name} ${await t}`);
}

async function smart(ehr, patient, launch) {
  const fhirclient = require('fhirclient');
  const memory = new Map();
  const storage = {get: async (k) => memory.get(k), set: async (k, v) => (memory.set(k, v), v), unset: async (k) => memory.delete(k)};
  let done;
  const answer = new Promise((ok, bad) => { done = {ok, bad}; });
  const app = createServer(async (req, res) => {
    try {
      const client = fhirclient(req, res, storage);
      if (req.url.startsWith('/launch')) return await client.authorize({clientId: 'vitae', scope: 'openid fhirUser launch patient/*.rs', redirectUri: `http://127.0.0.1:${app.address().port}/app`, pkceMode: 'required'});
      const ready = await client.ready();
      const read = await ready.patient.read(), list = await ready.request(`Observation?patient=${ready.patient.id}`, {pageLimit: 0, flat: true});
      done.ok({id: read.id, observations: list.length});
      res.end('ok');
    } catch (e) { done.bad(e); res.end('failed'); }
  });
  await new Promise((ok) => app.listen(0, '127.0.0.1', ok));
  await fetch(`http://127.0.0.1:${app.address().port}/launch?iss=${encodeURIComponent(`${ehr}/fhir`)}&launch=${launch}`);
  const seen = await answer;
  assert.equal(seen.id, patient);
  assert.equal(seen.observations, 12);
  app.close();
}
await {keys, tokens, smart}[what](...rest);
process.exit(0);
