/* The file in which a started interpreter is kept, so that the next start is a few mmap(2) calls: save.c writes it, resume.c in
 * the launcher reads it, pyrunc/_snapshot.py decides when. See docs/decisions/0011.
 *
 *   head | files | parts | paths of the files | (from the next page on) the pages of parts that are SNAPSHOT_OWN
 */
#ifndef PYRUNC_SNAPSHOT_H
#define PYRUNC_SNAPSHOT_H

#define SNAPSHOT_MAGIC 0x31304e5352595031ULL
#define SNAPSHOT_BOOT 36  /* characters of a boot_id: 8-4-4-4-12 hexadecimal digits */
#define SNAPSHOT_HEAD 32768 /* at most: everything before the pages; the launcher reads it onto its stack */
#define SNAPSHOT_STACK 0x800000UL /* bytes of stack for the resumed interpreter, the usual RLIMIT_STACK */

/* Where the pages of a part come from; a number from 0 on is one of the files. */
enum { SNAPSHOT_OWN = -1, SNAPSHOT_ZERO = -2, SNAPSHOT_VDSO = -3 };

struct snapshot_head {
  unsigned long long magic;
  unsigned int length, files, parts, paths; /* bytes before the pages; how many; how many; offset of the first path */
  unsigned long long context, vdso;         /* address of the struct context; of the vdso, 0 without one */
  char boot[SNAPSHOT_BOOT + 4];
};

/* What was mapped, and must still be: a package that was updated since must not be mixed with what the old one computed. */
struct snapshot_file {
  unsigned long long dev, ino, size, mtime, mtime_nsec, ctime, ctime_nsec;
};

struct snapshot_part {
  unsigned long long address, length, offset;
  int prot, source;
};

/* The registers that a function call preserves (x86-64 psABI, 3.2.1), and the thread pointer. */
struct snapshot_context {
  unsigned long long rbx, rbp, r12, r13, r14, r15, rsp, rip, fs;
};

#endif
