/* What a C library does for the stack protector: GUARD in the first function, which never returns, makes the canary.
 *
 * On x86-64 compilers look for it at %fs:40. It is of the random bytes that the kernel hands to every program, with a NUL in
 * front, so that no string can hold it, and lies on the stack, as no data can be written to. A fork has it too,
 * and so has the courier.
 */
#ifndef PYRUNC_GUARD_H
#define PYRUNC_GUARD_H

#include "kernel.h"

#if defined __SSP_STRONG__ && !defined PYRUNC_HOSTED

#include <asm/prctl.h>
#include <linux/auxvec.h>

#if __has_attribute(no_stack_protector)
#define UNGUARDED __attribute__((no_stack_protector))
#else
#define UNGUARDED __attribute__((optimize("no-stack-protector"))) /* gcc before 11 */
#endif
#define GUARD(stack) struct guard guard; set_guard(&guard, stack)

struct guard { unsigned long unused[5], canary; };

UNGUARDED static inline void set_guard(struct guard *guard, const long *stack) {
  const long *aux = stack + stack[0] + 2;
  guard->canary = 0;
  while (*aux++)
    continue; /* the environment */
  for (; aux[0]; aux += 2)
    if (aux[0] == AT_RANDOM)
      copy((char *)&guard->canary + 1, (const char *)aux[1], sizeof(long) - 1);
  SYS(arch_prctl, ARCH_SET_FS, guard);
}

/* No system call: nothing that this process says counts any more. */
__attribute__((used)) _Noreturn void __stack_chk_fail(void);
_Noreturn void __stack_chk_fail(void) { __builtin_trap(); }

#else
#define UNGUARDED
#define GUARD(stack) (void)0
#endif

#endif
