// Package confine owns what takes rights away from the calling process, for
// good: the two profiles' lists of capabilities, system calls and socket
// families, and the rules of Landlock for machines that are processes. It adds
// nothing to what a process may do, and knows no machines.
package confine
