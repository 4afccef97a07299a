/* What Python asks of C; build_shim.py gives the same declarations to cffi. Failures are a negative errno. */
#ifndef PYRUNC_SHIM_H
#define PYRUNC_SHIM_H

const char *pyrunc_ops_text(void);
const char *pyrunc_ops_names(void);
unsigned int pyrunc_ops_hash(void);
const char *pyrunc_executor_bytes(unsigned long *length);
int pyrunc_executor_fd(void);
int pyrunc_memfd_sealed(const char *name, const char *data, unsigned long length);
int pyrunc_spawn(unsigned long long clone_flags, int cgroup_fd, int exe_fd, const int stdio[3], int preserve, const int *fds,
                 int count, int *pidfd);
int pyrunc_openat2(int dir, const char *path, unsigned long long flags, unsigned int mode, unsigned long long resolve);
long pyrunc_fs_magic(int fd);
int pyrunc_bpf(int command, char *attr, unsigned int size);
int pyrunc_ns_type(int fd);
int pyrunc_close_range(unsigned int first, unsigned int last, unsigned int flags);
int pyrunc_prctl_subreaper(int on);
int pyrunc_landlock_create(const char *attr, unsigned long size, unsigned int flags);
int pyrunc_landlock_add(int ruleset, int type, const char *attr);
unsigned long pyrunc_symbol(const char *library, const char *name);
long pyrunc_snapshot_save(int fd, const char *boot, unsigned long vdso, const char *files, unsigned int files_count,
                          const char *paths, unsigned long paths_length, const char *mappings, unsigned long count,
                          const char *maps, unsigned long maps_length);
const char *pyrunc_snapshot_word(unsigned long index);
unsigned long pyrunc_signals_ignored(void);

#endif
