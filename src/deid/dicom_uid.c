/* 2.25.N (PS3.5 B.2): N is a UUID of version 8 made of an HMAC. */
#include <sodium.h>

#include "deid/dicom_clean.h"

void dicom_uid_map(const uint8_t key[32], struct str uid, char out[48]) {
  uint8_t mac[crypto_auth_hmacsha256_BYTES];
  char digits[40];
  size_t n = 0;
  crypto_auth_hmacsha256_state st;
  crypto_auth_hmacsha256_init(&st, key, 32);
  crypto_auth_hmacsha256_update(&st, (const uint8_t *)uid.p, uid.n);
  crypto_auth_hmacsha256_final(&st, mac);
  mac[6] = (uint8_t)((mac[6] & 0x0F) | 0x80);
  mac[8] = (uint8_t)((mac[8] & 0x3F) | 0x80);
  unsigned __int128 v = 0;
  for (int i = 0; i < 16; i++) v = v << 8 | mac[i];
  for (; v; v /= 10) digits[n++] = (char)('0' + (int)(v % 10));
  memcpy(out, "2.25.", 5);
  for (size_t i = 0; i < n; i++) out[5 + i] = digits[n - 1 - i];
  out[5 + n] = 0;
}
