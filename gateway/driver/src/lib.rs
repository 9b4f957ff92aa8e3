//! Turns kernel completions into inputs and outputs into submissions: io_uring or epoll.
