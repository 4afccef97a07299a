/*
 * Run a command and write "wall-time-in-ns peak-rss-in-KiB exit-status" to fd 3.
 *
 * Why not from Python: the kernel counts the memory of the process that called exec to the peak of what it became, so
 * a child of a 40 MiB interpreter never shows less than 40 MiB. This parent is static and below 1 MiB.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t child;

static void stop_child(int sig)
{
    (void)sig;
    if (child > 0)
        kill((pid_t)child, SIGKILL);
}

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    struct rusage usage;
    long long begin;
    int status = 0;
    pid_t pid;

    if (argc < 2 || fcntl(3, F_SETFD, FD_CLOEXEC) == -1)
        return 125;
    signal(SIGTERM, stop_child);
    begin = now();
    pid = vfork();
    if (pid == 0) {
        execvp(argv[1], argv + 1);
        _exit(127);
    }
    if (pid == -1)
        return 125;
    child = pid;
    while (wait4(pid, &status, 0, &usage) == -1)
        ;
    dprintf(3, "%lld %ld %d\n", now() - begin, usage.ru_maxrss,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}
