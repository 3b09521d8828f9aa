#!/usr/bin/env bash
# The command line itself: help, suggestions, exit statuses by the error table (src/base/error.c), refusals in words.
. "$(dirname "$0")/../../scripts/testlib.sh"
commands=$(grep -oE '&command_[a-z_]+' src/cli/main.c | sed 's/&command_//') # the table itself: a command without help is found
[ "$(echo "$commands" | wc -w)" -ge 15 ] || { echo "the table of commands was not understood"; exit 2; }

help_names_every_command() {
  run "$vitae" --help; status_is 0
  for c in $commands; do grep -qE "^  $c +[a-z]" "$work/out" || fail "--help lacks $c"; done
  same "$(grep -cE '^  [a-z]+ +' "$work/out")" "$(echo "$commands" | wc -w)" "commands in --help"
  cp "$work/out" "$work/help"
  run "$vitae" help; status_is 0; cmp -s "$work/out" "$work/help" || fail "help and --help differ"
  run "$vitae"; status_is 64; err_has "usage: vitae COMMAND"
  run "$vitae" --version; status_is 0; out_has "vitae "
}

every_command_has_help() {
  for c in $commands; do
    run "$vitae" "$c" --help; status_is 0; out_has "vitae $c"; out_has "--json"; cp "$work/out" "$work/help"
    run "$vitae" help "$c"; status_is 0; cmp -s "$work/out" "$work/help" || fail "help $c and $c --help differ"
    run "$vitae" "$c" -h; status_is 0; cmp -s "$work/out" "$work/help" || fail "$c -h and $c --help differ"
    awk 'length > 200 {exit 1}' "$work/out" || fail "the help of $c has a line over 200 characters"
  done
}

deid_of_nothing_is_no_success() {
  mkdir -p "$work/none"; echo "no such thing" > "$work/no.json"
  for kind in fhir dicom vcf; do
    run "$vitae" deid "$work/none" "$work/out-$kind" --from $kind; status_is 65
    run "$vitae" deid "$work/no.json" "$work/out-$kind.x" --from $kind; status_is 65
  done
  run "$vitae" deid "$work/no.json" "$work/x" --from fihr; status_is 64; err_has "text, fhir, dicom or vcf"
}

a_pipe_is_no_file_to_take_in() {
  mkfifo "$work/pipe.vcf"; "$vitae" init "$work/pipes" >/dev/null 2>&1
  for kind in vcf fhir hl7v2 meds dicom omop; do
    run timeout 20 "$vitae" ingest "$work/pipes" "$work/pipe.vcf" --from $kind; status_is 65; err_has "no regular file"
  done
  for kind in vcf fhir dicom; do
    run timeout 20 "$vitae" deid "$work/pipe.vcf" "$work/out-pipe" --from $kind; status_is 65; err_has "no regular file"
  done
}

what_is_left_out_is_said() {
  local s=$work/left
  printf '{"resourceType":"Patient","id":"p1","gender":"female","birthDate":"1970-01-01"}\n' > "$work/real.ndjson"
  run "$vitae" init "$s"; mkdir "$work/links"; ln -s "$work/real.ndjson" "$work/links/a.ndjson"; ln -s "$work/real.ndjson" "$work/links/b.csv"
  for kind in "fhir" "meds" "csv --mapping diabetes130"; do
    run "$vitae" ingest "$s" "$work/links" --from $kind; [ "$status" = 65 ] || [ "$status" = 66 ] || fail "exit status $status"; err_has "left out: 2 links"
  done
  cp "$work/real.ndjson" "$work/links/c.ndjson"; mkfifo "$work/links/pipe"
  run "$vitae" ingest "$s" "$work/links" --from fhir; status_is 0; out_has "left out: links"
  run "$vitae" ingest "$s" "$work/links" --from fhir --json; status_is 0; json_is "j['files_left_out']" 3
  rm "$work/links/pipe" "$work/links/a.ndjson" "$work/links/b.csv"
  run "$vitae" ingest "$s" "$work/links" --from fhir --json; status_is 0; json_is "j['files_left_out']" 0
}

# names under the input may be patients'; a file of the site that cannot be written is named
a_full_site_is_not_blamed_on_the_input() {
  local s=$work/full said
  run "$vitae" init "$s"; mkdir "$work/in"; printf '{"resourceType":"Patient","id":"p1","gender":"female","birthDate":"1970-01-01"}\n' > "$work/in/SMITH.ndjson"
  said=$(trap '' XFSZ; ulimit -f 0; "$vitae" ingest "$s" "$work/in" --from fhir 2>&1) && fail "an ingest that could write nothing said it was done"
  case $said in *"$s/"*) ;; *) fail "the site's file is not named: $said" ;; esac
  case $said in *SMITH*) fail "an input file is named" ;; esac
  mkdir "$work/in/SMITH"; chmod 0 "$work/in/SMITH"; run "$vitae" ingest "$s" "$work/in" --from fhir; nothing_says SMITH
}

mistyped_words_are_suggested() {
  run "$vitae" ingets; status_is 64; err_has 'did you mean "ingest"?'
  run "$vitae" trian; status_is 64; err_has 'did you mean "train"?'
  run "$vitae" xylophone; status_is 64; err_has "vitae --help"
  run "$vitae" help valdate; status_is 64; err_has 'did you mean "validate"?'
  run "$vitae" train x --epoch 1; status_is 64; err_has "did you mean --epochs?"
  run "$vitae" train x --sead=1; status_is 64; err_has "did you mean --seed?"
  run "$vitae" predict x --xylophone 1; status_is 64; err_has "vitae predict --help"
  run "$vitae" show x -l 3; status_is 64; err_has "options are spelled --NAME"
}

values_are_checked() {
  run "$vitae" train x --epochs; status_is 64; err_has "--epochs wants a value: N"
  run "$vitae" train x --seed many; status_is 64; err_has "--seed wants a whole number"
  run "$vitae" train x --seed 99999999999999999999; status_is 64
  run "$vitae" train x --epochs 1x; status_is 64; err_has "--epochs wants a number"
  run "$vitae" train x --seed 1 --seed 2; status_is 64; err_has "given twice"
  run "$vitae" train x --resume=yes; status_is 64; err_has "--resume takes no value"
  run "$vitae" train; status_is 64; err_has "usage: vitae train SITE"
  run "$vitae" show a b c; status_is 64; err_has "too many arguments"
  run "$vitae" train x $(for i in $(seq 17); do echo --task t; done); status_is 64; err_has "more than 16 times"
}

# Every number but a seed has limits, in the table of its command; one beyond the upper one is refused before anything is done.
numbers_have_limits() {
  same "$(grep -hoE '"[a-z-]+", CLI_(INTEGER|NUMBER), "[^":]*"' src/cli/*.c | cut -d'"' -f2 | sort -u)" seed "numbers without limits"
  local c option from to n=0
  for c in $commands; do
    while read -r option from to; do
      n=$((n + 1)); run "$vitae" "$c" "$option" $((to + 1)); status_is 64; err_has "$option is $from to $to"
    done < <("$vitae" "$c" --help | sed -nE 's/^  (--[a-z-]+) .*; ([0-9-]+) to ([0-9]+)$/\1 \2 \3/p')
  done
  [ $n -ge 30 ] || fail "only $n numbers with an upper limit were found in the help"
  run "$vitae" train x --lr 0; status_is 64; err_has "--lr is above 0"
  run "$vitae" train x --decay -0.1; status_is 64; err_has "--decay is at least 0"
  run "$vitae" tagger x --lean -101; status_is 64; err_has "--lean is -100 to 100"
}

what_is_no_site_is_refused() {
  mkdir -p "$work/empty"
  for c in show train validate versions tasks; do
    run "$vitae" $c "$work/empty"; status_is 66; err_has "is not a site"; err_has "vitae init"
    run "$vitae" $c "$work/nowhere" --json; status_is 66; json_is "j['error']['code']" notfound; same "$(wc -c < "$work/err")" 0 "bytes on standard error"
  done
  run "$vitae" ingest "$work/empty" "$work" --from fhir; status_is 66
  run "$vitae" verify "$work/nowhere"; status_is 66
  run "$vitae" verify "$work/empty"; status_is 66
  echo x > "$work/file"
  run "$vitae" verify "$work/file"; no_crash; [ $status -ne 0 ] || fail "a text file verified"
  run "$vitae" show "$work/file"; status_is 66
}

init_refuses_twice_and_wrong_words() {
  run "$vitae" init "$work/s1" --policy export; status_is 66; err_has 'did you mean "expert"?'; [ ! -e "$work/s1" ] || fail "a refused init left something"
  run "$vitae" init "$work/s1" --json; status_is 0; is_json; json_is "j['policy']" expert
  same "$(stat -c %a "$work/s1/vault")" 700 "mode of the vault"
  run "$vitae" init "$work/s1"; status_is 64; err_has "there is a site"
  run "$vitae" verify "$work/s1"; status_is 0
  echo short > "$work/phrase"
  run "$vitae" init "$work/s2" --passphrase-file "$work/phrase"; [ $status -ne 0 ] || fail "a passphrase of 5 letters was taken"
  [ ! -e "$work/s2/vitae.json" ] || fail "an init refused for its passphrase left a site"
  printf 'a longer phrase\n' > "$work/phrase"
  run "$vitae" init "$work/s3" --passphrase-file "$work/phrase"; status_is 0
  printf '{"resourceType":"Patient","id":"p1","gender":"female","birthDate":"1970-01-01"}\n' > "$work/p.ndjson"
  run "$vitae" ingest "$work/s3" "$work/p.ndjson" --from fhir; [ $status -ne 0 ] || fail "a locked vault was opened without its passphrase"
  printf 'another phrase\n' > "$work/wrong"
  run "$vitae" ingest "$work/s3" "$work/p.ndjson" --from fhir --passphrase-file "$work/wrong"; status_is 77; nothing_says "another phrase"
  run "$vitae" ingest "$work/s3" "$work/p.ndjson" --from fhir --passphrase-file "$work/phrase"; status_is 0
}

# vitae.json is written last: without it there is no site, and init goes on with what is there and loses nothing of it
an_init_that_was_broken_off_goes_on() {
  local s=$work/half
  bash -c 'ulimit -c 0 -f 0; "$0" init "$1"; exit $?' "$vitae" "$s" > /dev/null 2>&1 && fail "an init that could write nothing said it was done"
  run "$vitae" verify "$s"; status_is 66
  run "$vitae" init "$s"; status_is 0; run "$vitae" verify "$s"; status_is 0
  printf '{"resourceType":"Patient","id":"p1","gender":"female","birthDate":"1970-01-01"}\n' > "$work/p.ndjson"; run "$vitae" ingest "$s" "$work/p.ndjson" --from fhir; status_is 0
  sed -i 's/"within_source": false/"within_source": true/' "$s/identity.json"; cat "$s/vault/identities" "$s/vault/key" "$s/identity.json" > "$work/before"
  rm "$s/vitae.json"; run "$vitae" init "$s"; status_is 0; out_has "kept"
  cat "$s/vault/identities" "$s/vault/key" "$s/identity.json" | cmp -s - "$work/before" || fail "a second init changed what was there"
  run "$vitae" verify "$s"; status_is 0; run "$vitae" ingest "$s" "$work/p.ndjson" --from fhir; status_is 0
  rm "$s/vitae.json" "$s/vault/identities" "$s/identity.json"; cp "$s/vault/key" "$work/before"
  run "$vitae" init "$s"; status_is 0; cmp -s "$s/vault/key" "$work/before" || fail "the key was replaced"; run "$vitae" verify "$s"; status_is 14; out_has "1 persons whom the vault does not know"
  mv "$s/identity.json" "$work/kept"; run "$vitae" verify "$s"; status_is 14; out_has "identity.json is missing"; mv "$work/kept" "$s/identity.json"
  mv "$s/vault/identities" "$work/kept"; run "$vitae" verify "$s"; status_is 14; out_has "vault/identities is missing"; mv "$work/kept" "$s/vault/identities"
  echo "a phrase that is long enough" > "$work/phrase"; run "$vitae" init "$work/half2" --passphrase-file "$work/phrase"; status_is 0
  rm "$work/half2/vitae.json"; run "$vitae" init "$work/half2"; status_is 77; err_has "needs its passphrase"; run "$vitae" show "$work/half2"; status_is 66
  run "$vitae" init "$work/half2" --passphrase-file "$work/phrase"; status_is 0
}

a_newer_format_is_refused_by_name() {
  run "$vitae" init "$work/n"; status_is 0
  sed -i 's/"format": *1/"format": 7/' "$work/n/vitae.json"
  for c in show versions train verify; do run "$vitae" $c "$work/n"; status_is 13; err_has "format 7"; err_has "use a newer program"; done
  sed -i 's/"format": *7/"format": 0/' "$work/n/vitae.json"; run "$vitae" show "$work/n"; status_is 14
  echo '{"format": "one"}' > "$work/n/vitae.json"; run "$vitae" show "$work/n"; no_crash; [ $status -ne 0 ] || fail "a wrong vitae.json was taken"
  : > "$work/n/vitae.json"; run "$vitae" show "$work/n"; no_crash; [ $status -ne 0 ] || fail "an empty vitae.json was taken"
}

what_is_missing_is_said() {
  run "$vitae" init "$work/m"; status_is 0
  run "$vitae" show "$work/m"; status_is 66; err_has "no timelines yet"; err_has "vitae ingest"
  run "$vitae" train "$work/m"; status_is 66; err_has "no timelines yet"
  run "$vitae" ingest "$work/m" "$work/p.ndjson"; status_is 64; err_has "--from"
  run "$vitae" ingest "$work/m" "$work/p.ndjson" --from fire; status_is 64
  run "$vitae" ingest "$work/m" "$work/p.ndjson" --from csv; status_is 64; err_has "--mapping"
  run "$vitae" ingest "$work/m" "$work/p.ndjson" --from csv --mapping phisionet2012; status_is 66; err_has 'did you mean "physionet2012"?'
  run "$vitae" ingest "$work/m" "$work/nothing-here" --from fhir; status_is 66
  printf '{"resourceType":"Patient","id":"p1","gender":"female","birthDate":"1970-01-01"}\n' > "$work/p.ndjson"
  run "$vitae" ingest "$work/m" "$work/p.ndjson" --from fhir --split half; status_is 64; err_has "--split"
  run "$vitae" ingest "$work/m" "$work/p.ndjson" --from fhir; status_is 0
  run "$vitae" predict "$work/m"; status_is 64; err_has "--subject"
  run "$vitae" predict "$work/m" --subject 1; [ $status -eq 66 ] || fail "exit status $status"; err_has "no model yet"
  run "$vitae" validate "$work/m"; status_is 66; err_has "vitae train"
  run "$vitae" export "$work/m" --format safetensors --to "$work/x"; status_is 66; err_has "no model yet"
  run "$vitae" export "$work/m"; status_is 64; err_has "--to"
  run "$vitae" export "$work/m" --format word --to "$work/x"; status_is 64
  run "$vitae" show "$work/m" 12; status_is 66
  run "$vitae" show "$work/m" twelve; status_is 64
  run "$vitae" show "$work/m" --limit 0; status_is 64
  run "$vitae" promote "$work/m" abcdef0 --to live; status_is 66
  run "$vitae" promote "$work/m" abcdef0 --to fame; status_is 64
  run "$vitae" promote "$work/m" abcdef0; status_is 64
  run "$vitae" versions "$work/m" --json; status_is 0; json_is "j" "[]"
  run "$vitae" train "$work/m" --size enormous; [ $status -eq 66 ] || [ $status -eq 64 ] || fail "exit status $status"
  run "$vitae" key "$work/m" --role king; status_is 64
  run timeout 600 "$vitae" serve "$work/m" --listen 127.0.0.1:0; [ $status -ne 0 ] && [ $status -ne 124 ] || fail "serve ran without a live version"; no_crash
}

completion_is_a_right_script() {
  run "$vitae" completion; status_is 0; bash -n "$work/out" || fail "bash refuses the completion script"
  same "$(bash -c ". '$work/out'; COMP_WORDS=(vitae ing) COMP_CWORD=1; _vitae; echo \${COMPREPLY[@]}")" ingest "completion of ing"
  same "$(bash -c ". '$work/out'; COMP_WORDS=(vitae train --ep) COMP_CWORD=2; _vitae; echo \${COMPREPLY[@]}")" --epochs "completion of --ep"
}

about_names_what_is_there_and_what_is_not() {
  run "$vitae" about; status_is 0; for w in vitae kernels threads GPU Parquet data; do out_has "$w"; done
  run "$vitae" about --json; status_is 0; is_json; json_is "sorted(j)" "['commit', 'gpu', 'kernels', 'parquet', 'threads', 'version']"
  cp "$vitae" "$work/alone"
  run env VITAE_DUCKDB="$work/none.so" "$work/alone" about; status_is 0; out_has "Parquet is off"; out_has "GPU       none: computing on a GPU needs vitae-cuda.so"
}

json_keeps_the_rest_off_standard_output() {
  run "$vitae" init "$work/j" --json; is_json
  run "$vitae" ingest "$work/j" "$work/p.ndjson" --from fhir --json; status_is 0; is_json; same "$(wc -c < "$work/err")" 0 "bytes on standard error"
  run "$vitae" show "$work/j" --json; is_json; run "$vitae" tasks "$work/j" --json; status_is 0; is_json
  run "$vitae" verify "$work/j" --json; status_is 0; is_json
  run "$vitae" completion --json; status_is 0
}
keys_are_made_listed_and_revoked() {
  local key id
  run "$vitae" init "$work/keys"; run "$vitae" key "$work/keys" --list --json; status_is 0; json_is "j" "[]"
  run "$vitae" key "$work/keys" --role clinician --label "ward 3"; status_is 0; key=$(cat "$work/out"); id=$(echo "$key" | cut -d_ -f2)
  run "$vitae" key "$work/keys" --list --json; status_is 0; is_json; json_is "[(k['id'], k['role'], k['label'], k['revoked']) for k in j]" "[('$id', 'clinician', 'ward 3', None)]"
  run "$vitae" key "$work/keys" --list; status_is 0; out_has "$id"; out_has "ward 3"; nothing_says "$key"; nothing_says "argon2"
  run "$vitae" key "$work/keys" --revoke "$id"; status_is 0; out_has "revoked"
  run "$vitae" key "$work/keys" --revoke "$id"; status_is 66
  run "$vitae" key "$work/keys" --list --json; json_is "[k['revoked'] is None for k in j]" "[False]"
  run "$vitae" key "$work/keys" --list --role admin; status_is 64
  run "$vitae" key "$work/keys" --list --revoke "$id"; status_is 64
}
# a directory of links that lead elsewhere is a model like any other, and follows what it links to
a_directory_is_imported_by_links() {
  mkdir -p "$work/tiny"
  python3 - "$work/tiny" <<'PY'
import json, struct, sys
to, d, ff, vocab = sys.argv[1], 32, 32, 259
shape = {"model.embed_tokens.weight": [vocab, d], "model.norm.weight": [d]}
for n in ("q", "k", "v", "o"): shape[f"model.layers.0.self_attn.{n}_proj.weight"] = [d, d]
for n in ("gate", "up"): shape[f"model.layers.0.mlp.{n}_proj.weight"] = [ff, d]
shape["model.layers.0.mlp.down_proj.weight"] = [d, ff]
for n in ("input_layernorm", "post_attention_layernorm"): shape[f"model.layers.0.{n}.weight"] = [d]
head, at = {}, 0
for name, s in shape.items():
    n = 4 * s[0] * (s[1] if len(s) > 1 else 1)
    head[name] = {"dtype": "F32", "shape": s, "data_offsets": [at, at + n]}
    at += n
text = json.dumps(head).encode()
open(f"{to}/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + struct.pack("<f", .01) * (at // 4))
json.dump({"model_type": "llama", "hidden_size": d, "intermediate_size": ff, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": vocab,
  "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "bos_token_id": 256, "eos_token_id": 257}, open(f"{to}/config.json", "w"))
bs = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256)); cs = bs[:]; k = 0
for b in range(256):
    if b not in bs: bs.append(b); cs.append(256 + k); k += 1
v = {chr(c): i for i, (_, c) in enumerate(sorted(zip(bs, cs)))}
added = [{"id": 256 + i, "content": c, "special": True} for i, c in enumerate(("<s>", "</s>", "<pad>"))]
json.dump({"added_tokens": added, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": v, "merges": []}}, open(f"{to}/tokenizer.json", "w"))
PY
  run "$vitae" init "$work/lm"; run "$vitae" import "$work/tiny" --site "$work/lm" --link --json; status_is 0; json_is "j['family'], j['layers']" "('llama', 1)"
  [ -L "$work/lm/models/language/tiny/model.safetensors" ] || fail "the weights were copied"
  run "$vitae" verify "$work/lm"; status_is 0; out_has "1 models, with their hashes: sound"
  run "$vitae" verify "$work/tiny"; status_is 0
  run "$vitae" generate "$work/tiny" "1 2" --ids --tokens 3 --json; status_is 0; json_is "j['tokens']" 3
  run "$vitae" generate "$work/tiny" "1 x" --ids; status_is 65; err_has "token ids"
  run "$vitae" generate "$work/tiny" "1 4294967297" --ids --logits "$work/logits"; status_is 65; err_has "token ids"
  run "$vitae" generate "$work/tiny" "1 2" --ids --tokens 0; status_is 64; err_has "--tokens is 1 to 1000000"
  echo '{}' > "$work/any.json"; echo '"1 2"' > "$work/prompts"
  run "$vitae" generate "$work/tiny" --prompts "$work/prompts" --ids --tokens 3 --json; status_is 0
  run "$vitae" generate "$work/tiny" --prompts "$work/prompts" --ids --schema "$work/any.json"; status_is 64; err_has "--schema"
  echo '{"prompt":"1 2"}' >> "$work/prompts"
  run "$vitae" generate "$work/tiny" --prompts "$work/prompts" --ids; status_is 65; err_has "one JSON string a line"; err_has "prompts:2"
  cp -r "$work/tiny" "$work/part"; rm "$work/part/tokenizer.json"
  run "$vitae" import "$work/part"; status_is 66; err_has "no tokenizer.json"
  run "$vitae" verify "$work/part"; status_is 66; err_has "no tokenizer.json"
  sed -i 's/"llama"/"mamba"/' "$work/part/config.json"; run "$vitae" import "$work/part"; status_is 65; err_has '"mamba" is not supported'
  rm "$work/part/config.json"; run "$vitae" import "$work/part"; status_is 66; err_has "no config.json"
  truncate -s 5000 "$work/part/model.safetensors"; run "$vitae" import "$work/part"; status_is 14; err_has "outside the file"
  rm "$work/part/model.safetensors"; run "$vitae" import "$work/part"; status_is 66; err_has "$work/part: neither model.gguf nor a .safetensors"
  flip_byte "$work/tiny/model.safetensors" 9000; run "$vitae" verify "$work/lm"; [ "$status" -ne 0 ] || fail "another file behind the link went unseen"
}
# answers that end before the questions: the transcript says so, runs again, and standard output is JSON alone
a_diagnosis_that_is_left_runs_again() {
  run bash -c "printf 'fever and cough\nyes\n' | '$vitae' diagnose --json --transcript '$work/left.json'"; status_is 0
  json_is "j['stopped'], len(j['steps'])" "('left', 2)"; err_has "Who comes"
  run "$vitae" diagnose --verify "$work/left.json"; status_is 0; out_has "hashes hold"
}
run_cases a_diagnosis_that_is_left_runs_again what_is_left_out_is_said a_full_site_is_not_blamed_on_the_input a_pipe_is_no_file_to_take_in a_directory_is_imported_by_links deid_of_nothing_is_no_success keys_are_made_listed_and_revoked help_names_every_command every_command_has_help mistyped_words_are_suggested values_are_checked numbers_have_limits what_is_no_site_is_refused \
  init_refuses_twice_and_wrong_words an_init_that_was_broken_off_goes_on a_newer_format_is_refused_by_name what_is_missing_is_said completion_is_a_right_script \
  about_names_what_is_there_and_what_is_not json_keeps_the_rest_off_standard_output
