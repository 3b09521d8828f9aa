// Bundles src/main.tsx and src/style.css into one page without outside references, and writes the policy that lets only these two run.
// Usage: node build.mjs PAGE POLICY
import {execFileSync} from 'node:child_process';
import {createHash} from 'node:crypto';
import {readFileSync, writeFileSync} from 'node:fs';

const [page, policy] = process.argv.slice(2);
const esbuild = 'node_modules/@esbuild/linux-x64/bin/esbuild';
const bundle = (entry) =>
  execFileSync(esbuild, [entry, '--bundle', '--minify', '--target=es2020', '--format=iife', '--jsx=automatic', '--jsx-import-source=preact', '--charset=utf8', '--legal-comments=none'],
    {encoding: 'utf8', maxBuffer: 1 << 26, stdio: ['ignore', 'pipe', 'inherit']});
const script = bundle('src/main.tsx').replace(/<\/script/gi, '<\\/script').trim();
const style = (readFileSync('node_modules/uplot/dist/uPlot.min.css', 'utf8') + execFileSync(esbuild, ['src/style.css', '--minify'], {encoding: 'utf8'})).trim();
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
writeFileSync(page, `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="color-scheme" content="light dark"><title>Vitae</title><style>${style}</style></head><body><div id="app"></div><noscript>The workbench needs JavaScript. The API is described at /openapi.json.</noscript><script>${script}</script></body></html>\n`);
writeFileSync(policy, `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\n`);
