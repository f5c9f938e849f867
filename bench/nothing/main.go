// Command nothing does nothing: the floor of what a Go program can cost.
package main

func main() {}
