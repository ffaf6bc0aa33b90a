/* Put before the C library in a node of a scenario (LD_PRELOAD): its disk takes as long as the
 * scenario says, and its monotonic clock stands still for as long. See system.rs, which has the layout of
 * the orders as well. Everything is asked of the kernel directly, so that nothing here is in need
 * of an allocator, which the program brings along itself. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct orders {
	int64_t sync_ms;
	int64_t monotonic_ms;
	int64_t syncs;
};

static volatile struct orders *orders;

__attribute__((constructor)) static void take_orders(void)
{
	const char *path = getenv("SYSTEM_ORDERS");
	int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (file < 0)
		return;
	void *page = mmap(NULL, sizeof(struct orders), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (page != MAP_FAILED)
		orders = page;
}

static int synced(long call, int file)
{
	int64_t ms = orders ? orders->sync_ms : 0;
	if (ms > 0) {
		struct timespec left = { ms / 1000, ms % 1000 * 1000000 };
		while (nanosleep(&left, &left) && errno == EINTR)
			;
		__atomic_fetch_add(&orders->syncs, 1, __ATOMIC_RELAXED);
	}
	return (int)syscall(call, file);
}

int fsync(int file)
{
	return synced(SYS_fsync, file);
}

int fdatasync(int file)
{
	return synced(SYS_fdatasync, file);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	int failed = (int)syscall(SYS_clock_gettime, clock, time);
	if (failed || !orders || clock != CLOCK_MONOTONIC)
		return failed;
	int64_t ms = orders->monotonic_ms;
	int64_t nanos = time->tv_nsec + ms % 1000 * 1000000;
	time->tv_sec += ms / 1000 + (nanos >= 1000000000) - (nanos < 0);
	time->tv_nsec = nanos + (nanos < 0) * 1000000000 - (nanos >= 1000000000) * 1000000000;
	return 0;
}
