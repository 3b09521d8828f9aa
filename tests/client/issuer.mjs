// An identity provider for tests: oidc-provider on loopback, which gives out access tokens (JWT, RS256) for client credentials, as Entra ID does to services.
// Usage: node issuer.mjs CLIENTS_DIR PORT KEY_FILE AUDIENCE…   KEY_FILE (JWK) is made if it is not there. Says "ready" when it listens.
import './webcrypto.mjs';
import {createRequire} from 'node:module';
import {generateKeyPairSync} from 'node:crypto';
import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {pathToFileURL} from 'node:url';

const [clients, port, keyFile, ...audiences] = process.argv.slice(2);
const {default: Provider} = await import(pathToFileURL(createRequire(`${clients}/npm/`).resolve('oidc-provider')));
if (!existsSync(keyFile)) {
  const {privateKey} = generateKeyPairSync('rsa', {modulusLength: 2048});
  writeFileSync(keyFile, JSON.stringify({...privateKey.export({format: 'jwk'}), kid: keyFile.split('/').pop(), use: 'sig', alg: 'RS256'}), {mode: 0o600});
}
const client = {client_id: 'research', client_secret: 'only-for-tests', grant_types: ['client_credentials'], redirect_uris: [], response_types: []};
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client],
  jwks: {keys: [JSON.parse(readFileSync(keyFile))]},
  scopes: ['vitae'],
  extraTokenClaims: () => ({tid: 'contoso', roles: ['Vitae.Developer']}),
  features: {
    devInteractions: {enabled: false},
    clientCredentials: {enabled: true},
    resourceIndicators: {
      enabled: true,
      defaultResource: () => audiences[0],
      getResourceServerInfo: (_, audience) => ({scope: 'vitae', audience, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: {sign: {alg: 'RS256'}}}),
    },
  },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
