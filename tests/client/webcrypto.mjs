// First import of what uses clients from npm: Debian 12's Node.js 18 has WebCrypto, which they look for, but does not offer it by itself.
import {webcrypto} from 'node:crypto';
globalThis.crypto ??= webcrypto;
