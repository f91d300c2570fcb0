/* Runs a command and says what it took.
 *
 *   measure REPORT COMMAND [ARGUMENT...]
 *
 * Writes "SECONDS USER SYSTEM PEAK_KB STATUS" to the file REPORT; STATUS is the exit
 * code, or 128 plus the signal. A program of its own because the kernel hands the
 * peak memory of whoever forks on to the child: measured from a large process, every
 * small one would look large. Children that the command waited for are included.
 */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

int main(int argc, char **argv) {
    struct timespec begin, end;
    struct rusage used;
    int status;
    if (argc < 3) return 125;
    FILE *report = fopen(argv[1], "w");
    if (report == NULL) return 125;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &used) < 0) return 125;
    clock_gettime(CLOCK_MONOTONIC, &end);
    fprintf(report, "%.6f %.6f %.6f %ld %d\n",
            (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9,
            seconds(used.ru_utime), seconds(used.ru_stime), used.ru_maxrss,
            WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return fclose(report) == 0 ? 0 : 125;
}
