/* Puts one event into a store past the wall, as a wall with a hole would: audit_plant TIMELINES SUBJECT code|description|unit|text|value|blob|birth STRING */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/time.h"
#include "deid/event_make.h"
#include "timeline/timeline.h"

static int blob_of(struct timeline_writer *w, const char *text, char hex[65], struct error *e) {
  char path[4096];
  snprintf(path, sizeof path, "%s/planted", timeline_writer_blob_dir(w));
  TRY(file_mkdirs(timeline_writer_blob_dir(w), 0755, e));
  TRY(file_write_atomic(path, text, strlen(text), 0644, e));
  return timeline_writer_blob(w, path, hex, e);
}

static int plant(char **argv, struct error *e) {
  struct timeline_writer *w;
  const char *what = argv[3];
  struct str s = str_c(argv[4]);
  char hex[65];
  struct event ev = {.subject = atoll(argv[2]), .time = TIME_DAY * 15000, .code = STR("PLANTED//1"), .value = NAN};
  TRY(timeline_writer_open(
      argv[1], &(struct timeline_options){.policy_name = STR("expert"), .policy_hash = STR("0"), .source = STR("planted")}, &w, e));
  int rc = OK;
  if (strcmp(what, "code") == 0) ev.code = s;
  if (strcmp(what, "description") == 0) ev.display = s;
  if (strcmp(what, "unit") == 0) ev.unit = s, ev.value = 1;
  if (strcmp(what, "text") == 0) ev.text = s;
  if (strcmp(what, "value") == 0) ev.value = (float)atof(argv[4]);
  if (strcmp(what, "birth") == 0) {
    struct time_parts p;
    ev.code = STR("MEDS_BIRTH");
    rc = time_parse(s, &p, &ev.time, e);
  }
  if (rc == OK && strcmp(what, "blob") == 0) {
    rc = blob_of(w, argv[4], hex, e);
    ev.blob = str_c(hex);
  }
  if (rc == OK) rc = timeline_append(w, &ev, e);
  if (rc == OK) rc = timeline_writer_source(w, 0, "planted", "", false, e);
  if (rc == OK) rc = timeline_writer_finish(w, STR("{\"dates\":\"shift\"}"), NULL, NULL, e);
  if (rc < 0) timeline_writer_abort(w);
  return rc;
}

int main(int argc, char **argv) {
  struct error e = {0};
  if (argc != 5) return 2;
  if (plant(argv, &e) < 0) return error_print(stderr, &e), 1;
  return 0;
}
