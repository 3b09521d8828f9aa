#!/usr/bin/env bash
# The workbench in a real browser: sign in by typing, cohort, a patient, questions, drafts, differential, the reports; by keyboard; both
# schemes; phone width.
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
# first a server that knows no diseases, for one page; then the same site with some
without=$(python3 - "$url" "$key" <<'PY'
import sys
sys.path.insert(0, "tests/client")
from browser import Browser
url, key = sys.argv[1:]
with Browser(1280, 900) as b:
    b.open(url + "/")
    b.wait("document.activeElement && document.activeElement.type === 'password'")
    b.type(key), b.key("Enter")
    b.wait("document.querySelector('nav a[href*=differential]')")
    b.evaluate("location.hash = '#/differential'")
    b.wait("document.querySelector('#unknown')")
    print(b.evaluate("document.querySelector('#unknown').textContent"))
PY
)
case $without in *"no knowledge of diseases"*) ok workbench_says_that_nothing_is_known ;; *) bad workbench_says_that_nothing_is_known ;; esac
stop_server
mkdir -p "$site/knowledge"
printf 'format-version: 1.4\n\n[Term]\nid: HP:0000118\nname: Phenotypic abnormality\n' >"$site/knowledge/hp.obo"
i=1
for name in "Atrial septal defect" "Absent thumb" "Short stature" "Triphalangeal thumb"; do
  printf '\n[Term]\nid: HP:000000%d\nname: %s\nis_a: HP:0000118\n' $i "$name" >>"$site/knowledge/hp.obo"
  i=$((i + 1))
done
for i in 1 2 3; do
  printf '{"id":"a%d","pmid":"PMID:%d","hpo":["HP:0000001","HP:0000002"],"disease":{"id":"OMIM:1","label":"Hand and heart"}}\n' $i $i
  printf '{"id":"b%d","pmid":"PMID:1%d","hpo":["HP:0000003","HP:0000004"],"disease":{"id":"OMIM:2","label":"Small stature and thumbs"}}\n' $i $i
done >"$site/knowledge/cases.jsonl"
start_server || { bad workbench_starts_again; exit 1; }
python3 - "$url" "$key" "$admin" "$site" "${SHOTS:-}" <<'PY'
import glob, json, sys, urllib.request
sys.path.insert(0, "tests/client")
from browser import Browser
url, key, admin, site, shots = sys.argv[1:]  # SHOTS=directory keeps pictures of the pages
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

dead, alive = [], []
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
        lives = [living(r) for r in rows]
        expect(any(lives) and not all(lives), "the cohort's first page lacks the living or the dead")
        wanted = rows[lives.index(True)]
        alive.append(wanted), dead.append(rows[lives.index(False)])
        b.evaluate("document.querySelector('input[type=search]').focus()")
        b.type(wanted)
        b.wait(f"document.querySelectorAll('#cohort tbody tr').length === 1 && document.querySelector('#cohort a').textContent === '{wanted}'")
        b.key("Enter")
        b.wait("location.hash.startsWith('#/subject/')")
    def patient():
        b.wait("document.querySelector('.ways')")
        expect(b.evaluate("document.querySelectorAll('.ways tbody tr').length") == 3, "not three ways to the number")
        b.wait("document.querySelectorAll('.why li').length > 0")  # contributing events
        b.wait("document.querySelector('.uplot canvas')")  # risk curves
        b.evaluate("document.querySelector('.timeline canvas').focus()")
        b.key("ArrowRight")
        b.wait("document.querySelector('.detail').textContent.includes('LOINC//')")
        first = b.evaluate("document.querySelector('.detail').textContent")
        b.key("ArrowRight")
        b.wait(f"document.querySelector('.detail').textContent !== {json.dumps(first)}")  # the arrow keys walk through events
        b.wait("(() => { const c = document.querySelector('.timeline canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const s = new Set(); for (let i = 0; i < d.length; i += 4) s.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]); return s.size; })() > 10")  # a picture
    def late():
        b.evaluate(f"location.hash = '#/subject/{dead[-1]}'")
        b.wait("document.querySelector('main').textContent.includes('there is nothing to foretell')")
        b.wait("document.querySelector('main').textContent.includes('Does not apply')")
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

def consult(b, prefix):
    """Questions, drafts, differential, calculators: a clinician's tools."""
    text = "document.querySelector('main').textContent"
    timeline = "(() => { const c = document.querySelector('.timeline canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let h = 0; for (let i = 0; i < d.length; i++) h = (h * 31 + d[i]) | 0; return h; })()"
    def picture(name):
        if shots:
            b.screenshot(f"{shots}/{prefix}-{name}.png")
    def narrow():
        expect(b.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window")
    def put(question):
        b.evaluate("document.querySelector('#question').focus()")
        b.type(question), b.key("Enter")
        b.wait(f"document.querySelector('.answer h3') && document.querySelector('.answer h3').textContent === {json.dumps(question)}")
    def sign_in():
        b.open(url + "/")
        b.wait("document.activeElement && document.activeElement.type === 'password'")
        b.type(key), b.key("Enter")
        b.wait("document.querySelectorAll('#cohort tbody tr').length === 50")
    def ask_all():
        b.evaluate("document.querySelector('summary').focus()")
        b.key("Enter")
        b.wait("document.querySelector('details').open")
        put('How many patients have "LOINC//2160-0"?')
        expect("160 of 160 patients" in b.evaluate("document.querySelector('.answer li').textContent"), "not everybody has it")
        narrow()
        b.evaluate(f"location.hash = '#/subject/' + {json.dumps(alive[0])}")
        b.wait("document.querySelector('#question') && document.querySelector('.timeline canvas').width > 100")
    def ask():
        put("How old is this patient?")
        said = b.evaluate("document.querySelector('.answer li').textContent")
        expect("Born on" in said, "no age")
        expect("[e" not in said, "citations stand as text too")
        expect(b.evaluate("document.querySelectorAll('.answer li .cite').length") == 2, "not the two events of an age")
        expect(not b.evaluate("!!document.querySelector('#by')"), "a language model is offered where there is none")
    def cite():
        before = b.evaluate(timeline)
        b.evaluate("document.querySelectorAll('.answer li .cite')[1].focus()")  # [0] is the birth, which is no point of the picture
        b.wait(f"{timeline} !== {before}")
        b.wait("document.querySelector('.said')")
        day = b.evaluate("document.activeElement.textContent")
        b.key("Enter")
        b.wait(f"document.querySelector('.detail').textContent.includes({json.dumps(day)})")
        b.wait("(() => { const r = document.querySelector('.timeline canvas').getBoundingClientRect(); return r.top < innerHeight && r.bottom > 0; })()")
        picture("ask"), narrow()
    def abstain():
        put("What is the weather like?")
        expect(b.evaluate("document.querySelector('.answer .abstained').textContent").startswith("No answer:"), "no plain abstention")
        expect(b.evaluate("document.querySelector('.answer').querySelectorAll('li').length") == 0, "an answer all the same")
    def thin_draft():
        b.evaluate("document.querySelector('#tab-ask').focus()")
        b.key("ArrowRight")
        b.wait("!document.querySelector('#panel-draft').hidden && document.activeElement.id === 'tab-draft'")
        b.evaluate("document.querySelector('#panel-draft form button').focus()")
        b.key("Enter")
        b.wait("document.querySelector('#panel-draft .abstained')")
        expect("too few statements" in b.evaluate("document.querySelector('#panel-draft .abstained').textContent"), "no reason")
    def draft():
        b.evaluate("(() => { const s = document.querySelector('#kind'); s.value = 'referral'; s.dispatchEvent(new Event('change', {bubbles: true})); })()")
        b.evaluate("document.querySelector('#panel-draft form button').focus()")
        b.key("Enter")
        b.wait("document.querySelector('#draft')")
        lines = b.evaluate("[...document.querySelectorAll('#draft .line')].map((l) => ({text: l.querySelector('textarea').value, tag: !!l.querySelector('.tag'), cites: l.querySelectorAll('.cite').length}))")
        expect(any(l["text"].startswith("Born on") for l in lines), "no age in the letter")
        expect(all(l["cites"] for l in lines if not l["tag"]), "a sentence of the record without its events")
    def edit():
        b.evaluate("(() => { const t = [...document.querySelectorAll('#draft textarea')].find((t) => t.value.startsWith('Born on')); t.focus(); t.select(); })()")
        b.type("An old acquaintance.")
        b.evaluate("[...document.querySelectorAll('#draft .line')].find((l) => l.querySelector('textarea').value.startsWith('Recorded sex')).querySelector('button.plain').focus()")
        b.key("Enter")
        b.wait("document.querySelector('#draft .line.deleted s')")
        b.evaluate("document.querySelector('#draft textarea').focus()")  # the blank: the reason for the referral
        b.type(f"Please see {prefix}.")
        b.evaluate("document.querySelector('#draft section:last-of-type > button.plain').focus()")
        b.key("Enter")
        b.evaluate("[...document.querySelectorAll('#draft textarea')].at(-1).focus()")
        b.type("With thanks.")
        b.evaluate("document.querySelector('#draft .foot .primary').focus()")
        b.key("Enter")
        b.wait("document.querySelector('#review').textContent.includes('edit distance')")
        said = b.evaluate("document.querySelector('#review').textContent")
        expect("changed 1, deleted 1, added 2" in said, f"the review is wrong: {said}")
        picture("draft"), narrow()
        kept = [json.load(open(f)) for f in glob.glob(f"{site}/inbox/drafts/{alive[0]}/*.json")]
        mine = [k for k in kept if any(s["final"] == f"Please see {prefix}." for s in k["sentences"])]
        expect(len(mine) == 1 and mine[0]["subject"] == alive[0] and mine[0]["changed"] == 1, "the inbox does not hold the review")
        expect([s for s in mine[0]["sentences"] if s["outcome"] == "changed"][0]["final"] == "An old acquaintance.", "not the clinician's words")
    def differential():
        b.evaluate("location.hash = '#/differential'")
        b.wait("document.querySelector('#finding')")
        for words, absent in (("atrial", False), ("thumb", True)):
            b.evaluate("document.querySelector('#finding').focus()")
            b.type(words)
            b.wait("document.querySelector('#found [aria-selected=true]')")
            if absent:
                b.key("ArrowDown")
                b.wait("document.querySelector('#found-1').getAttribute('aria-selected') === 'true'")
            b.key("Enter", shift=absent)
            b.wait("!document.querySelector('#found')")
        b.wait("document.querySelectorAll('#findings li').length === 2 && document.querySelector('#findings .absent')")
        b.wait("document.querySelectorAll('#differential tbody .disease').length === 2 && !document.querySelector('.stale') && document.querySelectorAll('#differential .why li').length === 2")
        expect("Hand and heart" in b.evaluate("document.querySelector('#differential tbody tr').textContent"), "the wrong disease is first")
        expect(b.evaluate("document.querySelectorAll('#differential .balance .pro').length") > 0 and b.evaluate("document.querySelectorAll('#differential .balance .con').length") > 0, "no evidence for and against")
        expect("None of the 2 diseases" in b.evaluate(text), "none of these is not said")
        picture("differential"), narrow()
    def calculate():
        b.evaluate("location.hash = '#/calculators/bmi'")
        b.wait("document.querySelector('.calculator')")
        b.evaluate("document.querySelector('input[name=weight]').focus()")
        b.type("70 kg"), b.key("Tab"), b.type("1.7 m"), b.key("Enter")
        b.wait("document.querySelector('#result') && document.querySelector('#result').textContent.startsWith('24.2')")
        b.evaluate("(() => { const i = document.querySelector('input[name=weight]'); i.focus(); i.select(); })()")
        b.type("70 mmol/L"), b.key("Enter")
        b.wait("document.querySelector('.calculator .bad') && document.querySelector('.calculator .bad').textContent.includes('unit')")
        expect(not b.evaluate("!!document.querySelector('#result')"), "an old result stands beside a refusal")
        narrow()
    def quiet():  # a wrong unit is a 409, which the browser itself reports
        expect(not [c for c in b.complaints() if "409" not in c], f"complaints: {b.complaints()}")
    for f in (sign_in, ask_all, ask, cite, abstain, thin_draft, draft, edit, differential, calculate, quiet):
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
    consult(b, "consult_desktop_dark")
with Browser(390, 844, mobile=True) as b:
    consult(b, "consult_phone_light")
with Browser(1280, 900, dark=True) as b:
    operate(b, "operate_desktop_dark")
with Browser(390, 844, mobile=True) as b:
    operate(b, "operate_phone_light")
sys.exit(1 if failed else 0)
PY
[ $? -eq 0 ] && [ $failures -eq 0 ]
