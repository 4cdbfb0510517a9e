-- The accident: a script that deletes the victims' rows, children first, without triggers.
set session_replication_role = replica;
set synchronous_commit = off;
delete from reaction using comment c, bench.victim v where comment_id = c.id and c.workspace_id = v.id;
delete from task_link using task t, bench.victim v where source_id = t.id and t.workspace_id = v.id;
delete from change using change_set s, bench.victim v where change_set_id = s.id and s.workspace_id = v.id;
delete from audit_event using bench.victim v where workspace_id = v.id;
delete from page using bench.victim v where workspace_id = v.id;
delete from attachment using bench.victim v where workspace_id = v.id;
delete from change_set using bench.victim v where workspace_id = v.id;
delete from worklog using bench.victim v where workspace_id = v.id;
delete from comment using bench.victim v where workspace_id = v.id;
delete from task using bench.victim v where workspace_id = v.id;
delete from project using bench.victim v where workspace_id = v.id;
delete from member using bench.victim v where workspace_id = v.id;
delete from workspace w using bench.victim v where w.id = v.id;
vacuum (analyze);
checkpoint;
