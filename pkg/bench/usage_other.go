//go:build !linux

package bench

func readUsage() (usage, bool) { return usage{}, false }
