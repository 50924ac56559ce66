#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Written by `hostwrit init`. Ends the message of a commit with the trailers that bind it to its fleet, branch and place:
# hosts refuse a commit that was carried to another repo or branch. Needs git alone.
#
# usage: hostwrit-trailers HOOK FILE, for the hooks prepare-commit-msg and commit-msg
set -eu
hook=$1
file=$2

# Where an editor is used the message is finished when commit-msg runs; where none is, as in a rebase, that hook may not
# run at all.
[ "$hook" = commit-msg ] || [ "${GIT_EDITOR:-}" = : ] || exit 0

# A message that is empty but for comments ends the commit, and must stay empty for that.
[ -n "$(sed '/^. -* >8 -*$/,$d' "$file" | git stripspace --strip-comments)" ] || exit 0

# In a rebase no branch is checked out, but one is being made.
ref=$(git symbolic-ref --quiet HEAD) || for rebase in rebase-merge rebase-apply; do
	name=$(git rev-parse --git-path "$rebase/head-name")
	[ -f "$name" ] && ref=$(cat "$name") && break
done
case $ref in refs/heads/*) ;; *) exit 0 ;; esac

fleet=$(git cat-file blob :policy/policy.yaml 2>/dev/null | sed -n '/^fleet:/{
	s/^fleet:[[:space:]]*//
	s/[[:space:]][[:space:]]*#.*$//
	s/[[:space:]]*$//
	s/^["'\'']\(.*\)["'\'']$/\1/
	p
	q
}') || true
if [ -z "$fleet" ]; then
	echo "hostwrit: policy/policy.yaml names no fleet, so this commit gets no Hostwrit trailers" >&2
	exit 0
fi

# `git commit --amend` makes another commit in the place of HEAD. Where its arguments cannot be seen a number is left out,
# which does no harm.
before=HEAD
if tr '\0' '\n' <"/proc/$PPID/cmdline" 2>/dev/null | grep -qxe --amend; then before=HEAD^; fi
seq=$(git -c log.showSignature=false log -1 --format='%(trailers:key=Hostwrit-Seq,valueonly)' "$before" -- 2>/dev/null |
	sed -n 's/^\([0-9]\{1,15\}\)$/\1/p' | tail -n 1)
seq=$(expr "${seq:-0}" + 1)

# Those of an earlier form of the message, or of the commit that it was taken from.
message=$(sed -e '/^Hostwrit-Repo:/d' -e '/^Hostwrit-Ref:/d' -e '/^Hostwrit-Seq:/d' "$file")
printf '%s\n' "$message" >"$file"
git -c trailer.separators=: interpret-trailers --in-place --no-divider --where end --if-exists add --if-missing add \
	--trailer "Hostwrit-Repo: $fleet" --trailer "Hostwrit-Ref: $ref" --trailer "Hostwrit-Seq: $seq" "$file"
