"""What fork and the end of the interpreter do to a pool: nothing hangs, nothing is printed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

BEGIN = """
import asyncio, os, sys, threading, time
from asyncstore.pool import Pool, default_pool
"""


def run_program(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BEGIN + textwrap.dedent(body)], capture_output=True, text=True, timeout=60, check=False
    )


EXITS = {
    "with idle workers": """
        async def main():
            await default_pool().run(int)
        asyncio.run(main())
        print("end")
    """,
    "with work queued": """
        async def main():
            pool = default_pool()
            for n in range(10_000):
                pool.submit_nowait(time.sleep, 0.01)
            await asyncio.sleep(0.01)
        asyncio.run(main())
        print("end")
    """,
    "with a worker stuck in a blocking call": """
        r, w = os.pipe()
        async def main():
            default_pool().submit_nowait(os.read, r, 1)
            await asyncio.sleep(0.01)
        asyncio.run(main())
        print("end")
    """,
    "with a worker busy in Python": """
        def spin():
            while True:
                pass
        async def main():
            default_pool().submit_nowait(spin)
            await asyncio.sleep(0.01)
        asyncio.run(main())
        print("end")
    """,
    "with the loop closed under a running job": """
        leave = threading.Event()
        async def main():
            default_pool().submit_nowait(leave.wait)
            await asyncio.sleep(0.01)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        loop.close()
        leave.set()
        time.sleep(0.05)
        print("end")
    """,
    "with a loop that was stopped and never closed": """
        import warnings; warnings.simplefilter("ignore")
        async def main():
            default_pool().submit_nowait(time.sleep, 0.001)
        asyncio.new_event_loop().run_until_complete(main())
        print("end")
    """,
    "from inside a job": """
        async def main():
            await default_pool().run(sys.exit, 0)
        print("end")
        asyncio.run(main())
    """,
}


@pytest.mark.parametrize("body", EXITS.values(), ids=EXITS.keys())
def test_the_interpreter_exits_without_a_hang_or_a_word(body):
    done = run_program(body)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_no_job_begins_once_the_interpreter_is_going_down():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
            import atexit, time
            begun = []
            def report():   # registered before the pool's own handler, so it runs after it
                before = len(begun)
                time.sleep(0.1)
                print(len(begun) - before <= 1)
            atexit.register(report)
            import asyncio
            from asyncstore.pool import Pool
            pool = Pool(max_workers=1)
            async def main():
                for n in range(1000):
                    pool.submit_nowait(lambda: (begun.append(n), time.sleep(0.001)))
                await asyncio.sleep(0.01)
            asyncio.run(main())
            """),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_results_of_a_closed_loop_are_discarded():
    done = run_program("""
        inside, leave, discarded = threading.Event(), threading.Event(), threading.Event()
        def job():
            inside.set()
            leave.wait()
            return 7
        pool = Pool()
        async def main():
            task = asyncio.ensure_future(pool.run(job, on_discard=lambda result: discarded.set()))
            await asyncio.sleep(0)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        inside.wait()
        import gc, warnings
        warnings.simplefilter("ignore")
        for task in asyncio.all_tasks(loop):
            task._log_destroy_pending = False
        del task
        loop.close()
        leave.set()
        print(discarded.wait(10))
    """)
    assert done.stdout == "True\n", done.stderr


def test_results_that_came_home_to_a_loop_that_was_closed_before_it_took_them_are_discarded():
    done = run_program("""
        discarded, leave = threading.Event(), threading.Event()
        pool = Pool(idle_timeout=0.05)
        async def main():
            pool.submit_nowait(leave.wait, on_discard=lambda result: discarded.set())
        loop = asyncio.new_event_loop()
        loop.run_until_complete(main())
        leave.set()
        while not pool.stats().done:
            time.sleep(0.001)
        loop.close()
        print(discarded.wait(10))
    """)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_gets_a_fresh_pool_and_the_parent_keeps_its_own():
    done = run_program("""
        import warnings; warnings.simplefilter("ignore", DeprecationWarning)
        pool = default_pool()
        lane = pool.lane(name="shared")
        leave = threading.Event()

        async def use(tag):
            first = await asyncio.wait_for(pool.run(os.getpid), 20)
            second = await asyncio.wait_for(lane.run(os.getpid), 20)
            print(tag, first == os.getpid() == second, pool.stats().done, flush=True)

        async def main():
            ran = []
            held = [pool.submit_nowait(leave.wait), lane.submit_nowait(leave.wait)]
            queued = [lane.submit_nowait(ran.append, n) for n in range(100)]
            while pool.stats().running < 2:
                await asyncio.sleep(0.001)
            pid = os.fork()
            if pid == 0:
                asyncio._set_running_loop(None)
                asyncio.new_event_loop().run_until_complete(use("child"))
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            leave.set()
            await asyncio.gather(*held, *queued)
            assert ran == list(range(100))
            await use("parent")
        asyncio.run(main())
    """)
    assert done.stdout.splitlines() == ["child True 2", "parent True 104"], done.stderr


def test_one_pool_serves_loops_in_several_threads_and_sends_each_result_home():
    done = run_program("""
        pool = Pool()
        wrong = []
        async def client(k):
            here = threading.get_ident()
            async def one(n):
                if await pool.run(lambda: (k, n)) != (k, n) or threading.get_ident() != here:
                    wrong.append((k, n))
            for _ in range(20):
                await asyncio.gather(*(one(n) for n in range(100)))
        threads = [threading.Thread(target=asyncio.run, args=(client(k),)) for k in range(4)]
        for t in threads: t.start()
        for t in threads: t.join(50)
        print(len(wrong), pool.stats().done)
        asyncio.run(pool.aclose())
    """)
    assert done.stdout == "0 8000\n", done.stderr


def test_closing_from_one_loop_settles_the_futures_of_another():
    done = run_program("""
        from asyncstore.pool import PoolClosed
        pool = Pool(max_workers=1)
        inside, leave = threading.Event(), threading.Event()
        results = []
        async def other():
            held = asyncio.ensure_future(pool.run(lambda: (inside.set(), leave.wait())))
            queued = asyncio.ensure_future(pool.run(int))
            results.extend(await asyncio.wait_for(asyncio.gather(held, queued, return_exceptions=True), 20))
        thread = threading.Thread(target=asyncio.run, args=(other(),))
        thread.start()
        inside.wait()
        async def closer():
            await pool.aclose(timeout=0.01)
        import logging; logging.disable()
        asyncio.run(closer())
        thread.join(30)
        leave.set()
        print([type(result).__name__ for result in results])
    """)
    assert done.stdout == "['PoolClosed', 'PoolClosed']\n", done.stderr


def test_a_system_that_refuses_threads_gives_a_clear_retryable_error():
    done = run_program("""
        from asyncstore.pool import WorkerStartError
        def refuse(self): raise RuntimeError("can't start new thread")
        async def main():
            pool = Pool()
            start, threading.Thread.start = threading.Thread.start, refuse
            for runner in (pool, pool.lane()):
                try:
                    await runner.run(int)
                except WorkerStartError as error:
                    print(error.retryable, error)
            threading.Thread.start = start
            print(await pool.run(int), pool.stats().queued)
            await pool.aclose()
        asyncio.run(main())
    """)
    line = "True the system refused a thread for the pool's first worker\n"
    assert done.stdout == line * 2 + "0 0\n", done.stderr
