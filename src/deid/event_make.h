/* Private to deid.c: what an event is made of. Nothing else includes this, so nothing else can make one. */
#ifndef DEID_EVENT_MAKE_H
#define DEID_EVENT_MAKE_H
#include "deid/event.h"

struct event {
  int64_t subject, time;
  struct str code, display, unit, text, blob;
  float value;
  uint32_t origin_file;
  uint64_t origin_row;
  bool earlier;
};
#endif
