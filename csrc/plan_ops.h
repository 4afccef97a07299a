/* The plan language: the one list of operations.
 *
 * The executor reads it through the X-macro below, Python through cffi (build_shim.py takes the same text), and
 * docs/plan.md is generated from it. An operation's number is its place in the list.
 *
 * OP(NAME, "out? arg:type ...", "what it does")
 *
 * The signature names up to five 64-bit arguments. It begins with ">" when the operation fills a slot (its `out`).
 * Types: slot (a slot, or SLOT_CWD, or SLOT_NONE where the text allows it) · path, str (offset of a NUL-terminated string
 * in the blob; both are strings, path says that it is one) · bytes, strs (offset in the low 32 bits; length in bytes, or
 * count of NUL-terminated strings, in the high 32) · fd (a raw descriptor number) · int, oct, hex, dev, id, tag and
 * the names of flag tables (open, resolve, tree, fscmd, mattr, how, clone, prctl, rlimit, caps, ioctl, umount, magic, filter),
 * which are plain numbers here and tell Python how to print them.
 */
#ifndef PYRUNC_PLAN_OPS_H
#define PYRUNC_PLAN_OPS_H

#define PLAN_OPS(OP) \
  /* make an fd */ \
  OP(OPEN, "> dir:slot path:path flags:open mode:oct resolve:resolve", \
     "openat2(2); every path below the root is resolved by the kernel with RESOLVE_IN_ROOT") \
  OP(OPEN_TREE, "> dir:slot path:path flags:tree", \
     "open_tree(2); an empty path means the slot itself") \
  OP(FSOPEN, "> fstype:str", "fsopen(2)") \
  OP(FSMOUNT, "> fs:slot attrs:mattr", "fsmount(2): a detached mount of what FSCONFIG created") \
  OP(SOCKET, "> domain:int type:int", "socket(2), in the network namespace of the container") \
  OP(PTY, "> ptmx:slot", \
     "unlock ptmx (TIOCSPTLCK) and open its peer by TIOCGPTPEER, after proving that ptmx is 5:2 on a devpts: a path to " \
     "the peer could be forged (CVE-2025-52565)") \
  /* use an fd */ \
  OP(FSCONFIG, "fs:slot cmd:fscmd key:str value:str", "fsconfig(2): set a flag, set a string, or create") \
  OP(SETATTR, "fd:slot how:how set:mattr clear:mattr userns:slot", \
     "mount_setattr(2) on the mount of the slot, or on its tree; how is AT_RECURSIVE and the propagation (MS_*), IDMAP takes " \
     "its ids from the user namespace") \
  OP(MOVE, "from:slot to:slot forbid:magic", \
     "move_mount(2), from fd to fd: nothing is resolved again (CVE-2021-30465). EXDEV when the target lies on a file system of " \
     "the forbidden magic number: asked of the very fd, for a link may lead into /proc (CVE-2025-52881)") \
  OP(UMOUNT, "path:path flags:umount", "umount2(2)") \
  OP(WRITE, "fd:slot data:bytes", "write(2), all of it in one call, as the files under /proc and /sys want it") \
  OP(IOCTL, "fd:slot request:ioctl data:bytes", "ioctl(2) with a pointer to the data, or 0 when there is none") \
  OP(DUP2, "from:slot to:fd", "dup3(2) without CLOEXEC: the one way for an fd into the container") \
  OP(CLOSE, "fd:slot", "close(2); an empty slot (its opener was skipped) is left alone") \
  OP(CLOSEFROM, "first:fd", \
     "close every fd from here up but the conversation, which becomes `first` (CLOEXEC): execve resolves its path before " \
     "CLOEXEC takes effect (CVE-2024-21626)") \
  OP(SENDFD, "via:slot fd:slot name:bytes", "sendmsg(2) with the fd as SCM_RIGHTS and the name as payload") \
  OP(COPYMODE, "fs:slot from:slot", \
     "set the string \"mode\" of a file-system context to the mode of the directory that will be covered") \
  OP(SYMLINK, "dir:slot name:str target:str replace:int", \
     "symlinkat(2); with replace, an existing name that is not a directory is unlinked first") \
  OP(CHOWN, "fd:slot uid:id gid:id", "fchown(2)") \
  /* process state */ \
  OP(UNSHARE, "flags:clone", "unshare(2)") \
  OP(SETNS, "fd:slot type:clone", "setns(2); the type makes the kernel refuse a namespace of another kind. Of a pidfd, it says which to join") \
  OP(FORK, "", \
     "clone(CLONE_PARENT) and report the child's pid: the child goes on with the plan, the parent leaves. New pid and time " \
     "namespaces hold for children only") \
  OP(SETSID, "", "setsid(2)") \
  OP(SETRES, "uid:id gid:id groups:bytes how:int", \
     "setgroups(2), setresgid(2), setresuid(2): in this order, for each takes away the right to the one before. The groups are " \
     "32-bit ids; how: 0 leaves them as they are, 1 sets them, 2 sets them unless that is denied (user_namespaces(7))") \
  OP(PRCTL, "option:prctl a:int b:int c:int d:int", "prctl(2)") \
  OP(BOUND, "keep:caps", "drop from the bounding set every capability that is not in the mask") \
  OP(CAPSET, "effective:caps permitted:caps inheritable:caps ambient:caps", \
     "capset(2), then clear the ambient set and raise it by prctl(2): the kernel wants this order") \
  OP(RLIMIT, "resource:rlimit soft:int hard:int", "prlimit64(2) on itself") \
  OP(SCHED, "attr:bytes", "sched_setattr(2): a struct sched_attr") \
  OP(IOPRIO, "which:int who:int value:hex", "ioprio_set(2)") \
  OP(PERSONALITY, "domain:hex", "personality(2)") \
  OP(MEMPOLICY, "mode:hex nodes:bytes", "set_mempolicy(2): mode and flags, and a mask of memory nodes") \
  OP(UMASK, "mask:oct", "umask(2)") \
  OP(HOSTNAME, "which:int name:bytes", "sethostname(2) when which is 0, setdomainname(2) when it is 1") \
  OP(KEYCTL, "name:str perm:hex", \
     "join a new session keyring and set its permissions: the id between the two calls is a value, not an fd") \
  OP(CHDIR, "path:path", \
     "chdir(2), then prove by getcwd(2) that it lies inside the root: through a leaked fd it might not (CVE-2024-21626)") \
  OP(RESTRICT, "ruleset:slot", "landlock_restrict_self(2): the rules are the parent's, who made the ruleset") \
  OP(SECCOMP, "flags:filter program:bytes agent:slot state:slot", \
     "seccomp(2) with SECCOMP_SET_MODE_FILTER. With an agent, a thread that has no filter sends it the listener and the " \
     "text of `state`, then closes both: the filter may forbid whatever that takes. Before EXEC, that is made ready first") \
  /* composites */ \
  OP(MKPATH, "> dir:slot path:path kind:int mode:oct", \
     "make what is missing of a path below a slot and open its last part (O_PATH): a directory (kind 0) or a file (kind 1). " \
     "Each step is a mkdirat in a directory that openat2 resolved, since a path made as a whole could be swapped on the way " \
     "(CVE-2024-45310)") \
  OP(PIVOT, "root:slot how:int", \
     "make the slot the root: pivot_root(\".\", \".\") and detach the old root (how 0), or chroot (how 1). Between the calls " \
     "the process would stand in two roots") \
  OP(COVER, "root:slot path:path file:slot dir:slot", \
     "mount a clone of one of two prepared mounts over a path: `dir` on a directory, `file` on anything else. What the path " \
     "is must be asked of the very fd that is covered (CVE-2025-31133)") \
  OP(COPYUP, "from:slot to:slot", "copy a directory tree, with owners, modes, times, xattrs and nodes, into an empty one") \
  OP(NODE, "dir:slot name:str mode:oct dev:dev owner:hex", \
     "mknodat(2), mode and owner (uid in the high 32 bits); an existing inode must be that very device, else EEXIST") \
  /* conversation */ \
  OP(RPC, "> tag:tag fd:slot count:int", \
     "ask the parent (sending the slot's fd, if any) and wait for its answer; the count fds of the answer fill out, out+1, ...") \
  OP(WAIT, "listener:slot", \
     "accept(2) until a peer says go: that peer is the conversation from then on. Others may look and leave") \
  OP(SPAWN, "path:path argv:strs env:strs stdio:hex timeout:int", \
     "run a hook and wait for it: stdin from the slot in the low 16 bits of stdio, output to the slot above; timeout in " \
     "seconds, 0 for none; on failure the error carries the wait status") \
  OP(FIND, "candidates:strs", "is one of the candidates a program that this user may execute?") \
  OP(EXEC, "candidates:strs argv:strs env:slot", \
     "execve(2) the first candidate that can be; the environment is read from the slot, as NUL-terminated strings")

enum plan_op {
#define PLAN_ENUM(name, signature, text) OP_##name,
  PLAN_OPS(PLAN_ENUM)
#undef PLAN_ENUM
  OP_COUNT
};

/* A plan: header, operations, blob, in a sealed memfd. All numbers are native-endian: it never leaves the machine. */

#define PLAN_MAGIC 0x316e6c50u /* "Pln1" */
#define PLAN_SLOTS 64
#define SLOT_NONE 0xffffu
#define SLOT_CWD 0xfffeu
#define SLOT_TALK 3 /* the conversation; 0, 1 and 2 are stdin, stdout and stderr; 4 and up arrive with the plan */
#define PLAN_TRACE 1u

struct plan_header {
  unsigned int magic;
  unsigned int hash;      /* of PLAN_OPS' names and signatures: both sides must have been built from one list */
  unsigned int ops;       /* number of operations */
  unsigned int blob;      /* bytes of the blob, which follows them */
  unsigned int inputs;    /* slots 4 .. 4+inputs-1 arrive filled */
  unsigned int flags;     /* PLAN_TRACE */
  unsigned int spare[10]; /* up to 64 bytes */
};

struct plan_record {
  unsigned short code;        /* enum plan_op */
  unsigned short out;         /* slot to fill, or SLOT_NONE */
  unsigned short skip;        /* operations to skip when one of these is met; 0 goes on with the next */
  unsigned short tolerate[3]; /* errnos, 0 for none */
  unsigned int spare;
  unsigned long long a[5];
};

/* The conversation: one SOCK_SEQPACKET message each.
 *
 *   executor                                parent
 *      |  TALK_SKIPPED op errno                |   an errno was tolerated
 *      |-------------------------------------->|
 *      |  TALK_PID op pid                      |   after FORK; pid as the parent sees it
 *      |-------------------------------------->|
 *      |  TALK_TRACE op ns                     |   with PLAN_TRACE: the operation ended at this CLOCK_MONOTONIC time
 *      |-------------------------------------->|
 *      |  TALK_RPC op tag (+ one fd)           |
 *      |-------------------------------------->|
 *      |            talk_answer (+ fds)        |   errno other than 0: the executor leaves silently
 *      |<--------------------------------------|
 *      |  TALK_ERROR op errno status           |   and the executor exits with 1
 *      |-------------------------------------->|
 *      |  end of file                          |   from the executor: EXEC has succeeded. From the parent: it died; exit
 *
 * WAIT: a peer that connects sends a talk_answer with errno 0 as its word to go on; one that closes first is forgotten.
 */
enum talk_kind { TALK_ERROR = 1, TALK_SKIPPED, TALK_PID, TALK_TRACE, TALK_RPC };

struct talk_message {
  unsigned int kind;
  unsigned int op;
  int value;           /* errno, pid or tag */
  int status;          /* SPAWN: wait status; -1 for a time-out */
  unsigned long long ns;
};

struct talk_answer {
  int error;
  unsigned int fds;
};

#endif
