// An issuer for tests: writes OUT/jwks.json, OUT/oidc.json and prints tokens, one a line: valid, then each with one thing wrong.
import {createHmac, createSign, generateKeyPairSync} from 'node:crypto';
import {writeFileSync} from 'node:fs';

const out = process.argv[2];
const {publicKey, privateKey} = generateKeyPairSync('rsa', {modulusLength: 2048});
const other = generateKeyPairSync('rsa', {modulusLength: 2048});
const ec = generateKeyPairSync('ec', {namedCurve: 'P-384'});
const jwk = {...publicKey.export({format: 'jwk'}), kid: 'one', use: 'sig', alg: 'RS256'};
const ecJwk = {...ec.publicKey.export({format: 'jwk'}), kid: 'two', use: 'sig'};
writeFileSync(`${out}/jwks.json`, JSON.stringify({keys: [{kty: 'OKP', crv: 'Ed25519', x: 'AAAA', kid: 'odd'}, jwk, ecJwk]}));
const issuer = {issuer: 'https://issuer.example/v2.0', audiences: ['https://cognitiveservices.azure.com', 'https://ml.azure.com'], jwks: 'jwks.json',
  algorithms: ['RS256', 'ES384'], tenant_claim: 'tid', roles: {'Vitae.Developer': 'developer', 'Vitae.Admin': 'admin'}};
writeFileSync(`${out}/oidc.json`, JSON.stringify({issuers: [issuer]}));
const b64 = (x) => Buffer.from(typeof x === 'string' ? x : JSON.stringify(x)).toString('base64url');
const now = Math.floor(Date.now() / 1000);
const claims = {iss: issuer.issuer, aud: issuer.audiences[0], sub: 'someone@example.org', tid: 'contoso', exp: now + 3600, nbf: now - 5, roles: ['Vitae.Developer']};
function rs(key, c, h = {}) {
  const head = {alg: 'RS256', kid: 'one', typ: 'JWT', ...h}, text = `${b64(head)}.${b64(c)}`;
  return `${text}.${createSign('RSA-SHA256').update(text).sign(key).toString('base64url')}`;
}
function es(c) {
  const text = `${b64({alg: 'ES384', kid: 'two', typ: 'JWT'})}.${b64(c)}`;
  return `${text}.${createSign('SHA384').update(text).sign({key: ec.privateKey, dsaEncoding: 'ieee-p1363'}).toString('base64url')}`;
}
const text = `${b64({alg: 'none', kid: 'one'})}.${b64(claims)}`;
const hs = `${b64({alg: 'HS256', kid: 'one'})}.${b64(claims)}`;
const pem = publicKey.export({type: 'spki', format: 'pem'});
for (const [name, t] of Object.entries({
  good: rs(privateKey, claims), good_list: rs(privateKey, {...claims, aud: ['x', issuer.audiences[1]]}), good_ec: es(claims),
  bad_expired: rs(privateKey, {...claims, exp: now - 600}), bad_early: rs(privateKey, {...claims, nbf: now + 600}), bad_no_exp: rs(privateKey, {...claims, exp: undefined}),
  bad_issuer: rs(privateKey, {...claims, iss: 'https://elsewhere.example'}), bad_audience: rs(privateKey, {...claims, aud: 'https://elsewhere.example'}),
  bad_role: rs(privateKey, {...claims, roles: ['Other']}), bad_plane: rs(privateKey, {...claims, roles: ['Vitae.Admin']}), bad_key: rs(other.privateKey, claims),
  bad_alg: rs(privateKey, claims, {alg: 'RS384'}), bad_none: `${text}.`, bad_hmac: `${hs}.${createHmac('sha256', pem).update(hs).digest('base64url')}`,
  bad_kid: rs(privateKey, claims, {kid: 'two'}), bad_jwk: rs(other.privateKey, claims, {jwk: other.publicKey.export({format: 'jwk'}), kid: undefined}),
})) console.log(`${name} ${t}`);
