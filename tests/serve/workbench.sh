#!/usr/bin/env bash
# The workbench in a real browser: sign in by typing, cohort, a patient, the reports; by keyboard; both schemes; phone width.
. "$(dirname "$0")/site.bash"
if ! command -v chromium >/dev/null; then
  [ -n "${CI:-}" ] && { bad workbench; exit 1; }
  skip workbench; exit 0
fi
make_site && start_server || { bad workbench_starts; exit 1; }
if ! curl -s "$url/" | grep -q 'id="app"'; then
  [ -n "${CI:-}" ] && { bad workbench_is_built; exit 1; }
  skip workbench; exit 0
fi
python3 - "$url" "$key" "$admin" "${SHOTS:-}" <<'PY'
import json, sys, urllib.request
sys.path.insert(0, "tests/client")
from browser import Browser
url, key, admin, shots = sys.argv[1:]  # SHOTS=directory keeps pictures of the pages
failed = []
def check(name, f):
    try:
        f()
        print(f"[       OK ] {name}")
    except Exception as e:
        print(f"{name}: {e!r}\n[  FAILED  ] {name}")
        failed.append(name)
def expect(condition, words):
    if not condition:
        raise AssertionError(words)

dead = []
def living(subject):
    request = urllib.request.Request(f"{url}/v1/subjects/{subject}/risk", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request) as answer:
        return not json.load(answer)["prediction"]["dead"]

def walk(b, prefix):
    def refused():
        b.open(url + "/")
        b.wait("document.activeElement && document.activeElement.type === 'password'")
        b.type("vitae_wrong"), b.key("Enter")
        b.wait("document.querySelector('#problem').textContent.includes('not valid')")
        expect(b.evaluate("sessionStorage.length") == 0, "a refused key was kept")
    def cohort():
        b.evaluate("(() => { const i = document.querySelector('input'); i.value = ''; i.focus(); })()")
        b.type(key), b.key("Enter")
        b.wait("document.querySelectorAll('#cohort tbody tr').length === 50")
        expect(b.evaluate("document.body.textContent.includes('of 160')"), "the count is missing")
        expect(b.evaluate("localStorage.length") == 0 and b.evaluate("!document.cookie"), "the key is kept for longer than the tab")
    def find():
        # pseudonyms are drawn anew for every site: the fourth row may be anybody, so take the first one who is alive, and one who is not
        rows = [r for r in b.evaluate("[...document.querySelectorAll('#cohort a')].map((a) => a.textContent)")]
        alive = [living(r) for r in rows]
        expect(any(alive) and not all(alive), "the cohort's first page lacks the living or the dead")
        wanted = rows[alive.index(True)]
        dead.append(rows[alive.index(False)])
        b.evaluate("document.querySelector('input[type=search]').focus()")
        b.type(wanted)
        b.wait(f"document.querySelectorAll('#cohort tbody tr').length === 1 && document.querySelector('#cohort a').textContent === '{wanted}'")
        b.key("Enter")
        b.wait("location.hash.startsWith('#/subject/')")
    def patient():
        b.wait("document.querySelector('.ways')")
        expect(b.evaluate("document.querySelectorAll('.ways tbody tr').length") == 3, "not three ways to the number")
        expect(b.evaluate("document.querySelectorAll('.why li').length") > 0, "no contributing events")
        expect(b.evaluate("!!document.querySelector('.uplot canvas')"), "no risk curves")
        b.evaluate("document.querySelector('.timeline canvas').focus()")
        b.key("ArrowRight")
        first = b.evaluate("document.querySelector('.detail').textContent")
        b.key("ArrowRight")
        expect(b.evaluate("document.querySelector('.detail').textContent") != first and "LOINC//" in first, "the arrow keys do not walk through events")
        expect(b.evaluate("(() => { const c = document.querySelector('.timeline canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const s = new Set(); for (let i = 0; i < d.length; i += 4) s.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return s.size; })()") > 10, "the picture is empty")
    def late():
        b.evaluate(f"location.hash = '#/subject/{dead[-1]}'")
        b.wait("document.querySelector('main').textContent.includes('there is nothing to foretell')")
        expect(b.evaluate("document.querySelector('main').textContent.includes('Does not apply')"), "the question is answered for somebody who is dead")
        expect(not b.evaluate("!!document.querySelector('.ways')"), "ways to a number that there is none of")
        expect(not b.evaluate("!!document.querySelector('.uplot canvas')"), "risk curves of somebody whose record ends in death")
    def pages():
        for page, words in (("wall", "Identifiers removed"), ("model", "parameters"), ("reports", "report")):
            b.evaluate(f"location.hash = '#/{page}'")
            b.wait(f"document.querySelector('main').textContent.includes('{words}')")
    def narrow():
        expect(b.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window")
    def quiet():
        # a refused key is a 401, which the browser itself reports
        expect(not [c for c in b.complaints() if "401" not in c], f"complaints: {b.complaints()}")
    def out():
        b.evaluate("document.querySelector('.who button').click()")
        b.wait("document.querySelector('input[type=password]')")
        expect(b.evaluate("sessionStorage.length") == 0, "signing out leaves the key")
    for f in (refused, cohort, find, patient, narrow, late, pages, out, quiet):
        check(f"{prefix}_{f.__name__}", f)

def operate(b, prefix):
    """An administrator's pages; by keyboard where there is something to type."""
    def text():
        return b.evaluate("document.querySelector('main').textContent")
    def picture(name):
        if shots:
            b.screenshot(f"{shots}/{prefix}-{name}.png")
    def narrow():
        expect(b.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window")
    def sign_in():
        b.open(url + "/")
        b.wait("document.activeElement && document.activeElement.type === 'password'")
        b.type(admin), b.key("Enter")
        b.wait("document.querySelector('nav a[href=\\'#/audit\\']')")
    def try_it():
        b.evaluate("location.hash = '#/try'")
        b.wait("document.querySelector('#body')")
        b.evaluate("document.querySelector('#body').focus()")
        b.key("Tab"), b.key("Enter")
        b.wait("document.querySelector('#answer')")
        expect('"outcomes"' in b.evaluate("document.querySelector('#answer').textContent"), "no answer")
        expect(b.evaluate("document.querySelector('#status').textContent").startswith("200, "), "no status")
        picture("try"), narrow()
    def keys():
        b.evaluate("location.hash = '#/keys'")
        b.wait("document.querySelectorAll('#keys tbody tr').length >= 2")
        expect(key not in text() and admin not in text(), "a key is shown")
        picture("keys"), narrow()
    def audit():
        b.evaluate("location.hash = '#/audit'")
        b.wait("document.querySelectorAll('#audit tbody tr').length > 3")
        b.evaluate("document.querySelector('form[role=search] input').focus()")
        b.type(key.split("_")[1]), b.key("Enter")
        b.wait(f"[...document.querySelectorAll('#audit tbody tr')].every((r) => r.textContent.includes('{key.split('_')[1]}'))")
        picture("audit"), narrow()
    def live():
        b.evaluate("location.hash = '#/live'")
        b.wait("[...document.querySelectorAll('#live tbody tr')].some((r) => r.textContent.includes('/v1/live'))")
        picture("live"), narrow()
    def versions():
        b.evaluate("location.hash = '#/versions'")
        b.wait("document.querySelector('#deployments tbody').textContent.includes('vitae')")
        picture("versions"), narrow()
    def quiet():
        expect(not b.complaints(), f"complaints: {b.complaints()}")
    for f in (sign_in, try_it, keys, audit, live, versions, quiet):
        check(f"{prefix}_{f.__name__}", f)

with Browser(1280, 900) as b:
    walk(b, "workbench_desktop_light")
with Browser(390, 844, dark=True, mobile=True) as b:
    walk(b, "workbench_phone_dark")
with Browser(1280, 900, dark=True) as b:
    operate(b, "operate_desktop_dark")
with Browser(390, 844, mobile=True) as b:
    operate(b, "operate_phone_light")
sys.exit(1 if failed else 0)
PY
[ $? -eq 0 ] && [ $failures -eq 0 ]
