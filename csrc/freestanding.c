/* What the compiler takes for granted in a program without a library. */
#include "kernel.h"

void *memcpy(void *restrict to, const void *restrict from, size n);
void *memset(void *to, int byte, size n);

/* gcc may turn an assignment of a struct into a call of these, also in a program without a library. */
void *memcpy(void *restrict to, const void *restrict from, size n) {
  for (size i = 0; i < n; i++) {
    ((char *)to)[i] = ((const char *)from)[i];
    __asm__ volatile(""); /* or gcc would see a memcpy here, and call it */
  }
  return to;
}

void *memset(void *to, int byte, size n) {
  for (size i = 0; i < n; i++) {
    ((char *)to)[i] = (char)byte;
    __asm__ volatile("");
  }
  return to;
}
