/* Put before each source of the executor (-include): its system calls go to fake_kernel.c, its one thread too. */
#ifndef FAKE_KERNEL_H
#define FAKE_KERNEL_H

#define syscall fake_syscall
#define __errno_location fake_errno_location
#define start_thread kernel_start_thread
#include "executor.h"
#undef start_thread
#define start_thread fake_start_thread
#ifdef CHECK_OPERATIONS
#define run_op checked_run_op /* as init.c calls it; ops.c defines the real one */
#endif

long fake_start_thread(char *top, void (*function)(void *), void *data, int *tid);
long checked_run_op(struct run *run, const struct plan_record *op);

/* fake_kernel.c */
void kernel_boot(const unsigned char *plan, size plan_length, const unsigned char *feed, size feed_length, int inputs);
int kernel_open_count(void);
void kernel_shutdown(void);
void kernel_fail(int call, int error, int again); /* after boot: let a call, counted from 1, fail; `again`: its like from then on */
void kernel_close_stdin(void);
int kernel_calls(void);
extern int kernel_ended; /* how: 0 not yet, 1 by exit, 2 by execve, 3 out of patience */

#endif
