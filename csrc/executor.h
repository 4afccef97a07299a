/* What the executor's files share: the state of a run, and the operations. */
#ifndef PYRUNC_EXECUTOR_H
#define PYRUNC_EXECUTOR_H

#include "kernel.h"
#include "plan_ops.h"

struct plan {
  const struct plan_header *header;
  const struct plan_record *ops;
  const char *blob;
  unsigned char slots[OP_COUNT]; /* per operation: the mask of arguments that are slots */
};

struct run {
  struct plan plan;
  unsigned int op; /* index of the operation under way */
  int status;      /* of the child that SPAWN waited for */
  int slot[PLAN_SLOTS];
  const char **argv, **envp; /* once EXEC is prepared */
};

static inline int fd_at(const struct run *run, unsigned long long slot) {
  return slot == SLOT_CWD ? AT_FDCWD : slot < PLAN_SLOTS ? run->slot[slot] : -1;
}

static inline const char *text_at(const struct run *run, unsigned long long offset) {
  return run->plan.blob + (unsigned int)offset;
}

static inline unsigned int length_in(unsigned long long bytes) { return (unsigned int)(bytes >> 32); }

/* init.c */
void tell(struct run *run, unsigned int kind, int value, unsigned long long ns);
int default_signals(void);
_Noreturn void fail(struct run *run, long error);

/* check.c */
long plan_check(struct plan *plan, const void *data, size length);

/* path.c */
long open_how(int dir, const char *path, const struct open_how *how);
long open_in(int root, const char *path, unsigned int flags);
long make_path(int root, const char *path, int kind, unsigned int mode);
long cover(int root, const char *path, int file, int dir);
long make_node(int dir, const char *name, unsigned int mode, unsigned int dev, unsigned int uid, unsigned int gid);
long pivot(int root, int how);

/* copy.c */
long copy_tree(int from, int to);

/* talk.c */
long send_fd(int via, const void *data, size length, int fd);
long ask(struct run *run, const struct plan_record *op);
long wait_for_go(struct run *run, int listener);

/* program.c */
long spawn(struct run *run, const struct plan_record *op);
long find(const char *candidates, unsigned int count);
long prepare_exec(struct run *run, const struct plan_record *op);
long execute(struct run *run, const struct plan_record *op);

/* seccomp.c */
long filter(struct run *run, const struct plan_record *op);

/* ops.c */
long run_op(struct run *run, const struct plan_record *op);

#endif
