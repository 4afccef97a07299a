/* The operations: one function each, about one system call. plan_check has looked at every argument already.
 *
 * Return a negative errno, or what fills the slot when the operation fills one.
 */
#include "executor.h"

#define UNUSED __attribute__((unused))
#define OPERATION(name) static long op_##name(struct run *run UNUSED, const struct plan_record *op UNUSED)

/* For calls that return a number which is no descriptor. */
static long nothing(long result) { return result < 0 ? result : 0; }

OPERATION(OPEN) {
  struct open_how how = {.flags = op->a[2] | O_CLOEXEC, .mode = op->a[3], .resolve = op->a[4]};
  return open_how(fd_at(run, op->a[0]), text_at(run, op->a[1]), &how);
}

OPERATION(OPEN_TREE) {
  const char *path = text_at(run, op->a[1]);
  unsigned int empty = *path ? 0 : AT_EMPTY_PATH;
  return SYS(open_tree, fd_at(run, op->a[0]), path, (unsigned int)op->a[2] | empty | OPEN_TREE_CLOEXEC);
}

OPERATION(FSOPEN) { return SYS(fsopen, text_at(run, op->a[0]), FSOPEN_CLOEXEC); }

OPERATION(FSMOUNT) { return SYS(fsmount, fd_at(run, op->a[0]), FSMOUNT_CLOEXEC, op->a[1]); }

OPERATION(SOCKET) { return SYS(socket, op->a[0], (unsigned int)op->a[1] | SOCK_CLOEXEC, 0); }

OPERATION(PTY) {
  int ptmx = fd_at(run, op->a[0]), unlock = 0;
  struct stat stat;
  struct statfs statfs;
  TRY(SYS(fstat, ptmx, &stat));
  TRY(SYS(fstatfs, ptmx, &statfs));
  if (!S_ISCHR(stat.st_mode) || stat.st_rdev != 0x502 || stat.st_ino != 2 || statfs.f_type != DEVPTS_SUPER_MAGIC)
    return -ENODEV;
  TRY(SYS(ioctl, ptmx, TIOCSPTLCK, &unlock));
  return SYS(ioctl, ptmx, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

OPERATION(FSCONFIG) {
  unsigned int cmd = (unsigned int)op->a[1];
  const char *key = cmd == FSCONFIG_SET_FLAG || cmd == FSCONFIG_SET_STRING ? text_at(run, op->a[2]) : 0;
  const char *value = cmd == FSCONFIG_SET_STRING ? text_at(run, op->a[3]) : 0;
  return SYS(fsconfig, fd_at(run, op->a[0]), cmd, key, value, 0);
}

OPERATION(SETATTR) {
  unsigned long long tree = op->a[1] & AT_RECURSIVE;
  struct mount_attr attr = {.attr_set = op->a[2], .attr_clr = op->a[3], .propagation = op->a[1] - tree};
  if (op->a[4] != SLOT_NONE)
    attr.userns_fd = (unsigned int)fd_at(run, op->a[4]);
  return SYS(mount_setattr, fd_at(run, op->a[0]), "", tree | AT_EMPTY_PATH, &attr, sizeof(attr));
}

OPERATION(MOVE) {
  struct statfs target;
  TRY(SYS(fstatfs, fd_at(run, op->a[1]), &target));
  if (op->a[2] && (unsigned long long)target.f_type == op->a[2])
    return -EXDEV;
  return SYS(move_mount, fd_at(run, op->a[0]), "", fd_at(run, op->a[1]), "",
             MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

OPERATION(UMOUNT) { return SYS(umount2, text_at(run, op->a[0]), op->a[1]); }

OPERATION(WRITE) {
  long written = SYS(write, fd_at(run, op->a[0]), text_at(run, op->a[1]), length_in(op->a[1]));
  return written < 0 || written == length_in(op->a[1]) ? written : -EIO;
}

OPERATION(IOCTL) {
  const char *data = length_in(op->a[2]) ? text_at(run, op->a[2]) : 0;
  return nothing(SYS(ioctl, fd_at(run, op->a[0]), op->a[1], data));
}

OPERATION(DUP2) {
  int from = fd_at(run, op->a[0]);
  return from == (int)op->a[1] ? SYS(fcntl, from, F_SETFD, 0) : SYS(dup3, from, op->a[1], 0);
}

OPERATION(CLOSE) {
  if (op->a[0] < PLAN_SLOTS) {
    close_fd(run->slot[op->a[0]]);
    run->slot[op->a[0]] = -1;
  }
  return 0;
}

/* The slot from which the EXEC that ends the plan will read the environment; it closes that itself. */
static int *environment(struct run *run) {
  const struct plan_record *last = &run->plan.ops[run->plan.header->ops - 1];
  return last->code == OP_EXEC && last->a[2] < PLAN_SLOTS ? &run->slot[last->a[2]] : 0;
}

OPERATION(CLOSEFROM) {
  int first = (int)op->a[0], talk = run->slot[SLOT_TALK], *env = environment(run);
  long kept = env && *env >= first ? SYS(fcntl, *env, F_DUPFD_CLOEXEC, first + 1) : -1;
  if (talk != first)
    TRY(SYS(dup3, talk, first, O_CLOEXEC));
  run->slot[SLOT_TALK] = first;
  if (kept > first + 1)
    TRY(SYS(dup3, kept, first + 1, O_CLOEXEC));
  for (int slot = SLOT_TALK + 1; slot < PLAN_SLOTS; slot++)
    run->slot[slot] = -1;
  if (kept >= 0)
    *env = first + 1;
  return SYS(close_range, first + 1 + (kept >= 0), ~0u, 0);
}

OPERATION(SENDFD) {
  return send_fd(fd_at(run, op->a[0]), text_at(run, op->a[2]), length_in(op->a[2]), fd_at(run, op->a[1]));
}

OPERATION(COPYMODE) {
  struct stat stat;
  char mode[] = "0000";
  TRY(SYS(fstat, fd_at(run, op->a[1]), &stat));
  for (unsigned int i = 0; i < 4; i++)
    mode[i] = (char)('0' + (stat.st_mode >> (9 - 3 * i) & 7));
  return SYS(fsconfig, fd_at(run, op->a[0]), FSCONFIG_SET_STRING, "mode", mode, 0);
}

OPERATION(SYMLINK) {
  int dir = fd_at(run, op->a[0]);
  const char *name = text_at(run, op->a[1]), *target = text_at(run, op->a[2]);
  long done = SYS(symlinkat, target, dir, name);
  if (!is_error(done, EEXIST) || !op->a[3])
    return done;
  TRY(SYS(unlinkat, dir, name, 0));
  return SYS(symlinkat, target, dir, name);
}

OPERATION(CHOWN) { return SYS(fchown, fd_at(run, op->a[0]), op->a[1], op->a[2]); }

OPERATION(UNSHARE) { return SYS(unshare, op->a[0]); }

OPERATION(SETNS) { return SYS(setns, fd_at(run, op->a[0]), op->a[1]); }

/* The child waits until its parent has told its pid and left: the pid comes before anything that the child says. */
OPERATION(FORK) {
  int gate[2];
  char none;
  TRY(SYS(pipe2, gate, O_CLOEXEC));
  long child = SYS(clone, CLONE_PARENT | SIGCHLD);
  if (child > 0) {
    tell(run, TALK_PID, (int)child, 0);
    leave(0);
  }
  SYS(close, gate[1]);
  if (!child)
    SYS(read, gate[0], &none, 1);
  SYS(close, gate[0]);
  return child;
}

OPERATION(SETSID) { return nothing(SYS(setsid)); }

/* An id of -1 would mean "leave it as it is", which is root. */
OPERATION(SETRES) {
  unsigned int uid = (unsigned int)op->a[0], gid = (unsigned int)op->a[1];
  if (uid == ~0u || gid == ~0u)
    return -EINVAL;
  long groups = op->a[3] ? SYS(setgroups, length_in(op->a[2]) / 4, text_at(run, op->a[2])) : 0;
  if (groups < 0 && !(op->a[3] == 2 && is_error(groups, EPERM)))
    return groups;
  TRY(SYS(setresgid, gid, gid, gid));
  return SYS(setresuid, uid, uid, uid);
}

OPERATION(PRCTL) { return nothing(SYS(prctl, op->a[0], op->a[1], op->a[2], op->a[3], op->a[4])); }

OPERATION(BOUND) {
  for (unsigned int cap = 0; cap < 64; cap++)
    if (!(op->a[0] >> cap & 1) && SYS(prctl, PR_CAPBSET_READ, cap) > 0) /* EINVAL: there is no such capability */
      TRY(SYS(prctl, PR_CAPBSET_DROP, cap));
  return 0;
}

OPERATION(CAPSET) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  for (unsigned int i = 0; i < 2; i++) {
    data[i].effective = (unsigned int)(op->a[0] >> 32 * i);
    data[i].permitted = (unsigned int)(op->a[1] >> 32 * i);
    data[i].inheritable = (unsigned int)(op->a[2] >> 32 * i);
  }
  TRY(SYS(capset, &header, data));
  TRY(SYS(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL));
  for (unsigned int cap = 0; cap < 64; cap++)
    if (op->a[3] >> cap & 1)
      TRY(SYS(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap));
  return 0;
}

OPERATION(RLIMIT) {
  struct rlimit64 limit = {op->a[1], op->a[2]};
  return SYS(prlimit64, 0, op->a[0], &limit, 0);
}

OPERATION(SCHED) { return SYS(sched_setattr, 0, text_at(run, op->a[0]), 0); }

OPERATION(IOPRIO) { return SYS(ioprio_set, op->a[0], op->a[1], op->a[2]); }

OPERATION(PERSONALITY) { return nothing(SYS(personality, op->a[0])); }

OPERATION(MEMPOLICY) {
  long length = length_in(op->a[1]);
  return SYS(set_mempolicy, op->a[0], length ? text_at(run, op->a[1]) : 0, length ? 8 * length + 1 : 0);
}

OPERATION(UMASK) {
  SYS(umask, op->a[0]);
  return 0;
}

OPERATION(HOSTNAME) {
  const char *name = text_at(run, op->a[1]);
  return op->a[0] ? SYS(setdomainname, name, length_in(op->a[1])) : SYS(sethostname, name, length_in(op->a[1]));
}

OPERATION(KEYCTL) {
  long ring = SYS(keyctl, KEYCTL_JOIN_SESSION_KEYRING, text_at(run, op->a[0]));
  return ring < 0 ? ring : SYS(keyctl, KEYCTL_SETPERM, ring, op->a[1]);
}

/* EXDEV: the directory is there, but outside the root. No other failure of chdir(2) or getcwd(2) has that name. */
OPERATION(CHDIR) {
  char cwd[PATH_MAX];
  TRY(SYS(chdir, text_at(run, op->a[0])));
  TRY(SYS(getcwd, cwd, sizeof(cwd)));
  return cwd[0] == '/' ? 0 : -EXDEV;
}

OPERATION(SECCOMP) { return filter(run, op); }

OPERATION(RESTRICT) { return SYS(landlock_restrict_self, fd_at(run, op->a[0]), 0); }

OPERATION(MKPATH) {
  return make_path(fd_at(run, op->a[0]), text_at(run, op->a[1]), (int)op->a[2], (unsigned int)op->a[3]);
}

OPERATION(PIVOT) { return pivot(fd_at(run, op->a[0]), (int)op->a[1]); }

OPERATION(COVER) {
  return cover(fd_at(run, op->a[0]), text_at(run, op->a[1]), fd_at(run, op->a[2]), fd_at(run, op->a[3]));
}

OPERATION(COPYUP) { return copy_tree(fd_at(run, op->a[0]), fd_at(run, op->a[1])); }

OPERATION(NODE) {
  return make_node(fd_at(run, op->a[0]), text_at(run, op->a[1]), (unsigned int)op->a[2], (unsigned int)op->a[3],
                   (unsigned int)(op->a[4] >> 32), (unsigned int)op->a[4]);
}

OPERATION(RPC) { return ask(run, op); }

OPERATION(WAIT) { return wait_for_go(run, fd_at(run, op->a[0])); }

OPERATION(SPAWN) { return spawn(run, op); }

OPERATION(FIND) { return find(text_at(run, op->a[0]), length_in(op->a[0])); }

OPERATION(EXEC) { return execute(run, op); }

long run_op(struct run *run, const struct plan_record *op) {
  switch ((enum plan_op)op->code) { /* unreached: OP_COUNT and beyond, which plan_check refuses */
#define PLAN_CASE(name, signature, text) \
  case OP_##name: \
    return op_##name(run, op);
    PLAN_OPS(PLAN_CASE)
#undef PLAN_CASE
  case OP_COUNT: /* unreached: as above */
    break; /* unreached: as above */
  }
  return -ENOSYS; /* unreached: as above */
}
