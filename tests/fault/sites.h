/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every call that the fault lane can fail, once: SITE(name, errnos it may fail with). control.py
 * reads this table too. Included several times with different definitions of SITE.
 *
 * `any` and `alloc` are not calls: `any` is every system call below, `alloc` every try_ allocation.
 */
SITE(any, 0)
SITE(alloc, ENOMEM)
SITE(open, EIO, EMFILE, ENOSPC, EACCES, EINTR)
SITE(openat, EIO, EMFILE, EACCES)
SITE(read, EIO, EINTR, SHORT)
SITE(write, EIO, ENOSPC, EINTR, SHORT)
SITE(pread, EIO, EINTR, SHORT)
SITE(pwrite, EIO, ENOSPC, EINTR, SHORT)
SITE(fsync, EIO, ENOSPC)
SITE(rename, EIO, ENOSPC, EROFS)
SITE(stat, EIO, EACCES)
SITE(fstat, EIO)
SITE(mkdir, EIO, ENOSPC, EROFS)
SITE(unlink, EIO, EROFS)
SITE(unlinkat, EIO, EROFS)
SITE(ftruncate, EIO, ENOSPC)
SITE(opendir, EIO, EMFILE, ENOMEM)
SITE(fdopendir, ENOMEM)
SITE(readdir, EIO)
SITE(statvfs, EIO)
SITE(lock, EIO, ENOLCK)
SITE(mmap, ENOMEM, EMFILE)
SITE(realpath, EIO, ENOMEM)
SITE(pipe2, EMFILE, ENFILE)
SITE(fork, EAGAIN, ENOMEM)
SITE(poll, ENOMEM, EINTR)
SITE(socket, EMFILE, ENOMEM)
SITE(thread, EAGAIN)
/* Counted and never failed: every allocation of the process, libraries' too; and those that abort
 * when memory is gone. */
SITE(heap, 0)
SITE(x_alloc, 0)
