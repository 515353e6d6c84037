;; A rule module by hand: the canonical ABI of trailhound:rule@2.0.0 with no SDK. Words in {{ }} are put in by guest.rs.
;;
;; The first field of every event tells the module what to do: a text that begins with `f` fires, one that begins with
;; `p` is poison and runs `evil`, anything else is quiet.
(component
  (import "trailhound:rule/host@{{host_version}}" (instance $host
    (type $level_shape (enum "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level_shape)))
    (export "log" (func (param "level" $level) (param "message" string)))))
  {{imports}}

  ;; Memory and what the canonical ABI needs to fill it; apart, since `log` can only be lowered once they exist.
  (core module $base_code
    (memory (export "memory") {{pages}})
    (global $heap (mut i32) (i32.const {{heap}}))
    ;; After a call everything that was handed out for it is free again.
    (func (export "reset") (param i32) (global.set $heap (i32.const {{heap}})))
    (func $alloc (export "alloc") (param $bytes i32) (result i32)
      (local $at i32) (local $end i32)
      (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
      (local.set $end (i32.add (local.get $at) (local.get $bytes)))
      (if (i32.gt_u (local.get $end) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.add (i32.shr_u (local.get $bytes) (i32.const 16)) (i32.const 1))))))
      (global.set $heap (local.get $end))
      (local.get $at))
    (func (export "realloc") (param $old i32) (param $old_bytes i32) (param $align i32) (param $bytes i32) (result i32)
      {{realloc}})
    {{data}})
  (core instance $base (instantiate $base_code))
  (alias core export $base "memory" (core memory $memory))
  (alias core export $base "realloc" (core func $realloc))
  (alias core export $base "reset" (core func $reset))
  (core func $log (canon lower (func $host "log") (memory $memory)))

  (core module $guest_code
    (import "host" "log" (func $log (param i32 i32 i32)))
    (import "base" "memory" (memory 1))
    (import "base" "alloc" (func $alloc (param i32) (result i32)))
    ;; Where the hits of this call lie, and how many they are; the same of their labels and their texts. `evil` may set them
    ;; all, and what `evaluate` returns.
    (global $hits (mut i32) (i32.const 0))
    (global $hits_len (mut i32) (i32.const 0))
    (global $labels (mut i32) (i32.const 0))
    (global $labels_len (mut i32) (i32.const 0))
    (global $texts (mut i32) (i32.const 0))
    (global $texts_len (mut i32) (i32.const 0))
    (global $answer (mut i32) (i32.const {{answer}}))
    ;; Calls of `evaluate` so far, and events and pairs of this one.
    (global $calls (mut i32) (i32.const 0))
    (global $events (mut i32) (i32.const 0))

    ;; Adds a hit without title and labels, and returns where it lies.
    (func $hit (param $event i32) (param $rule i32) (result i32)
      (local $at i32)
      (local.set $at (i32.add (global.get $hits) (i32.shl (global.get $hits_len) (i32.const 4))))
      (global.set $hits_len (i32.add (global.get $hits_len) (i32.const 1)))
      (memory.fill (local.get $at) (i32.const 0) (i32.const 16))
      (i32.store (local.get $at) (local.get $event))
      (i32.store offset=4 (local.get $at) (local.get $rule))
      (local.get $at))

    ;; Adds a text to those of the answer.
    (func $put (param $text i32) (param $bytes i32)
      (memory.copy (i32.add (global.get $texts) (global.get $texts_len)) (local.get $text) (local.get $bytes))
      (global.set $texts_len (i32.add (global.get $texts_len) (local.get $bytes))))

    ;; Gives the hit that was just added a title, before its labels.
    (func $title (param $hit i32) (param $text i32) (param $bytes i32)
      (i32.store offset=8 (local.get $hit) (local.get $bytes))
      (call $put (local.get $text) (local.get $bytes)))

    ;; Gives it one more label.
    (func $label
      (param $hit i32) (param $key i32) (param $key_bytes i32) (param $value i32) (param $value_bytes i32)
      (local $at i32)
      (local.set $at (i32.add (global.get $labels) (i32.shl (global.get $labels_len) (i32.const 3))))
      (global.set $labels_len (i32.add (global.get $labels_len) (i32.const 1)))
      (i32.store (local.get $at) (local.get $key_bytes))
      (i32.store offset=4 (local.get $at) (local.get $value_bytes))
      (i32.store offset=12 (local.get $hit) (i32.add (i32.load offset=12 (local.get $hit)) (i32.const 1)))
      (call $put (local.get $key) (local.get $key_bytes))
      (call $put (local.get $value) (local.get $value_bytes)))

    (func $recurse (param i64) (result i64)
      (i64.add (i64.const 1) (call $recurse (i64.add (local.get 0) (i64.const 1)))))

    ;; $row is where the event's cells lie.
    (func $evil (param $event i32) (param $rule i32) (param $row i32) (param $text i32)
      (local $at i32) (local $i i32) (local $to i32) (local $len i32) (local $value i32)
      {{evil}})

    ;; Where the description's first rule lies, for a `describe` that spoils it.
    (func $first_rule (result i32) (i32.load offset=28 (i32.const {{description}})))

    (func (export "describe") (param $settings i32) (param $settings_len i32) (result i32)
      (local $at i32)
      {{describe}}
      (i32.const {{description}}))

    (func (export "evaluate")
      (param $event_count i32) (param $cells i32) (param $cells_len i32) (param $pairs i32) (param $pairs_len i32)
      (param $text i32) (param $text_len i32) (result i32)
      (local $pair i32) (local $event i32) (local $rule i32) (local $cell i32) (local $first i32)
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (global.set $events (local.get $event_count))
      (global.set $hits (call $alloc (i32.shl (i32.add (local.get $pairs_len) (i32.const 8)) (i32.const 4))))
      (global.set $hits_len (i32.const 0))
      (global.set $labels (call $alloc (i32.const 0x1000)))
      (global.set $labels_len (i32.const 0))
      (global.set $texts (call $alloc (i32.const 0x10000)))
      (global.set $texts_len (i32.const 0))
      (block $done
        (loop $next
          (br_if $done (i32.ge_u (local.get $pair) (local.get $pairs_len)))
          (local.set $event (i32.load (i32.add (local.get $pairs) (i32.shl (local.get $pair) (i32.const 3)))))
          (local.set $rule (i32.load offset=4 (i32.add (local.get $pairs) (i32.shl (local.get $pair) (i32.const 3)))))
          (local.set $cell (i32.add (local.get $cells)
            (i32.mul (local.get $event) (i32.const {{row_bytes}}))))
          ;; The first byte of the text; 0 where it is empty. Kind and length share the cell's upper half.
          (local.set $first (i32.const 0))
          (if (i32.and (i32.load offset=4 (local.get $cell)) (i32.const 0xfffffff))
            (then (local.set $first (i32.load8_u (i32.add (local.get $text) (i32.load (local.get $cell)))))))
          (if (i32.eq (local.get $first) (i32.const 0x66))
            (then (drop (call $hit (local.get $event) (local.get $rule)))))
          (if (i32.eq (local.get $first) (i32.const 0x70))
            (then (call $evil (local.get $event) (local.get $rule) (local.get $cell) (local.get $text))))
          (local.set $pair (i32.add (local.get $pair) (i32.const 1)))
          (br $next)))
      {{finish}}
      (i32.store (i32.const {{answer}}) (global.get $hits))
      (i32.store offset=4 (i32.const {{answer}}) (global.get $hits_len))
      (i32.store offset=8 (i32.const {{answer}}) (global.get $labels))
      (i32.store offset=12 (i32.const {{answer}}) (global.get $labels_len))
      (i32.store offset=16 (i32.const {{answer}}) (global.get $texts))
      (i32.store offset=20 (i32.const {{answer}}) (global.get $texts_len))
      (global.get $answer))
    (func $start {{start}})
    (start $start))
  (core instance $host_core (export "log" (func $log)))
  (core instance $guest (instantiate $guest_code
    (with "host" (instance $host_core))
    (with "base" (instance $base))))

  ;; The contract's types, as rules/sdk/wit/rule.wit has them.
  (type $severity (enum "informational" "low" "medium" "high" "critical" "fatal"))
  (type $condition (record (field "field" string) (field "any-of" (list string))))
  (type $example (record (field "name" string) (field "record" string) (field "fires" bool)))
  (type $attack (record (field "technique" string) (field "technique-name" string) (field "tactic" string)
    (field "tactic-name" string)))
  (type $rule (record (field "id" string) (field "version" string) (field "title" string) (field "severity" $severity)
    (field "description" string) (field "rationale" string) (field "remediation" string)
    (field "references" (list string)) (field "compliance" (list string)) (field "attacks" (list $attack))
    (field "select" (list $condition)) (field "examples" (list $example))))
  (type $module (record (field "name" string) (field "version" string) (field "fields" (list string))
    (field "rules" (list $rule))))
  (type $batch (record (field "events" u32) (field "cells" (list u64)) (field "pairs" (list u64))
    (field "text" string)))
  (type $label (record (field "key" u32) (field "value" u32)))
  (type $hit (record (field "event" u32) (field "rule" u32) (field "title" u32) (field "labels" u32)))
  (type $answer (record (field "hits" (list $hit)) (field "labels" (list $label)) (field "text" string)))
  (func $describe (param "settings" string) (result (result $module (error string)))
    (canon lift (core func $guest "describe") (memory $memory) (realloc $realloc) (post-return $reset)))
  (func $evaluate (param "events" $batch) (result $answer)
    (canon lift (core func $guest "evaluate") (memory $memory) (realloc $realloc) (post-return $reset)))
  (instance $detection
    (export "severity" (type $severity))
    (export "condition" (type $condition))
    (export "example" (type $example))
    (export "attack" (type $attack))
    (export "rule" (type $rule))
    (export "module" (type $module))
    (export "batch" (type $batch))
    (export "label" (type $label))
    (export "hit" (type $hit))
    (export "answer" (type $answer))
    (export "describe" (func $describe))
    (export "evaluate" (func $evaluate)))
  {{exports}})
