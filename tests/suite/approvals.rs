//! Approvals through the command line: who may approve, what counts, and every way to get around it, with exact words
//! and nothing written. Signatures are made here by the SSH library, and by ssh-keygen.

use std::process::Command;

use reinstate::model::document_hash;
use serde_json::Value;
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, LineEnding, PrivateKey, Signature, SshSig};

use crate::world::{Dump, Kind, Run, World, output, tenants};

const HINT: &str =
    "hint: to approve it: reinstate approve FILE --key KEY; an approval is for one plan and dies with it";
const NOT_THIS: &str = "signed something else than this plan, or the signature was changed";

/// A world whose first three tenants are gone. Its plans need one approval, those of three tenants two; Anna makes
/// them, Ben and Carl can approve. Anna is listed twice.
struct Team {
    world: World,
    whole: Dump,
    before: Dump,
}

const RULES: &str = "
[approvals]
allowed_signers = \"allowed_signers\"
required = [{ from = 1, count = 1 }, { from = 3, count = 2 }]
";

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn public(seed: u8) -> String {
    key(seed).public_key().to_openssh().expect("public key")
}

fn fingerprint(seed: u8) -> String {
    key(seed).fingerprint(HashAlg::Sha256).to_string()
}

fn signed(seed: u8, namespace: &str, message: &str) -> SshSig {
    key(seed).sign(namespace, HashAlg::Sha512, message.as_bytes()).expect("signature")
}

fn armoured(signature: &SshSig) -> String {
    signature.to_pem(LineEnding::LF).expect("PEM")
}

impl Team {
    async fn new() -> Self {
        let world = World::with_snapshot(Kind::Sqlite).await;
        let whole = world.dump().await;
        world.delete(&tenants()[..3]).await;
        let before = world.dump().await;
        let team = Self { world, whole, before };
        team.rules(RULES);
        team.signers("");
        for (name, seed) in [("anna", 1), ("ben", 2), ("carl", 3), ("dora", 4)] {
            let text = key(seed).to_openssh(LineEnding::LF).expect("private key");
            team.world.write(&format!("{name}.key"), &text);
        }
        team
    }

    /// Writes the allowed signers, with more lines.
    fn signers(&self, more: &str) {
        let (anna, ben, carl) = (public(1), public(2), public(3));
        self.world.write(
            "allowed_signers",
            &format!("anna {anna}\nanna.second {anna}\nben {ben}\ncarl {carl}\n{more}"),
        );
    }

    /// Replaces the rules of the configuration.
    fn rules(&self, rules: &str) {
        let text = self.world.read("reinstate.toml");
        let rest = text.split("\n[approvals]").next().expect("text");
        self.world.write("reinstate.toml", &format!("{rest}{rules}"));
    }

    /// A plan of Anna's for the first tenants, and its hash.
    fn plan(&self, count: usize) -> String {
        let _ = std::fs::remove_file(self.world.path("plan.json"));
        self.plan_by("anna", count).exits(0);
        self.plan_json()["hash"].as_str().expect("hash").to_owned()
    }

    fn plan_by(&self, author: &str, count: usize) -> Run {
        self.world.list(&tenants()[..count]);
        self.world.run(&["plan", "--tenants", "tenants.txt", "-o", "plan.json", "--author", author])
    }

    fn plan_json(&self) -> Value {
        serde_json::from_str(&self.world.read("plan.json")).expect("JSON")
    }

    fn approve(&self, name: &str, count: usize, more: &[&str]) -> Run {
        let (key, count) = (format!("{name}.key"), count.to_string());
        self.world.run(&[&["approve", "plan.json", "--key", &key, "--confirm", &count], more].concat())
    }

    /// Puts a signature beside the plan, past `approve`.
    fn put(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.world.path("plan.approvals")).expect("folder");
        self.world.write(&format!("plan.approvals/{name}.sig"), text);
    }

    fn forget(&self) {
        let _ = std::fs::remove_dir_all(self.world.path("plan.approvals"));
    }

    /// Refused with exit code 3 and these words; nothing was written.
    async fn refused(&self, run: Run, error: &str) {
        let run = run.exits(3);
        assert_eq!(run.error(), error);
        assert_eq!(self.world.dump().await, self.before, "nothing was written");
    }

    /// `apply` finds no approval in what `name` put beside the plan of one tenant.
    async fn not_counted(&self, name: &str, why: &str) {
        let error = format!(
            "error: unable to apply the plan: it needs 1 approval by others than its author 'anna', and has none; \
             not counted: '{name}' {why}\n{HINT}"
        );
        self.refused(self.world.apply(1), &error).await;
        self.forget();
    }
}

#[tokio::test]
async fn an_approved_plan_is_applied() {
    let team = Team::new().await;
    let hash = team.plan(3);
    assert_eq!(team.plan_json()["approvals_min"], 2);
    let run = team.approve("ben", 3, &[]).exits(0);
    let said = format!(
        "approved by 'ben' with key {}: 1 of 2 approvals, written to plan.approvals/ben.sig\nplan {hash}\n",
        fingerprint(2)
    );
    assert_eq!(run.stdout, said);
    assert!(run.stderr.contains("Needs 2 approvals by others than its author 'anna'"), "{}", run.stderr);
    let error = format!(
        "error: unable to apply the plan: it needs 2 approvals by others than its author 'anna', and has 1, by 'ben'\n{HINT}"
    );
    team.refused(team.world.apply(3), &error).await;
    let approved = team.approve("carl", 3, &["--json"]).exits(0).json();
    assert_eq!(approved["approvals_needed"], 2);
    assert_eq!(approved["approvals"][1]["principal"], "carl");
    let report = team.world.run(&["apply", "plan.json", "--confirm", "3", "--json"]).exits(0).json();
    assert_eq!(report["author"], "anna");
    let approvers: Vec<&Value> =
        report["approvals"].as_array().expect("approvals").iter().map(|it| &it["principal"]).collect();
    assert_eq!(approvers, ["ben", "carl"]);
    assert_eq!(report["approvals"][0]["key"], fingerprint(2));
    assert_eq!(team.world.dump().await, team.whole, "all three are back");
}

#[tokio::test]
async fn the_author_cannot_approve() {
    let team = Team::new().await;
    let hash = team.plan(1);
    let none = format!(
        "error: unable to apply the plan: it needs 1 approval by others than its author 'anna', and has none\n{HINT}"
    );
    team.refused(team.world.apply(1), &none).await;
    let hint = "hint: a plan is approved by others than its author, each with a valid key of their own";
    let error = format!("error: unable to approve the plan: 'anna' is the author of the plan\n{hint}");
    team.refused(team.approve("anna", 1, &["--as", "anna"]), &error).await;
    let second = "'anna.second' signed with a key of the plan's author";
    let error = format!("error: unable to approve the plan: {second}\n{hint}");
    team.refused(team.approve("anna", 1, &["--as", "anna.second"]), &error).await;
    assert!(!team.world.path("plan.approvals").exists(), "no signature was written");

    let signature = armoured(&signed(1, "reinstate-plan", &hash));
    team.put("anna", &signature);
    team.not_counted("anna", "is the author of the plan").await;
    team.put("anna.second", &signature);
    team.not_counted("anna.second", "signed with a key of the plan's author").await;
    team.put("ben", &signature);
    team.not_counted("ben", "signed with a key of the plan's author").await;
}

#[tokio::test]
async fn two_names_with_one_key_are_one_person() {
    let team = Team::new().await;
    team.signers(&format!("ben.second {}\n", public(2)));
    let hash = team.plan(3);
    let ask = "error: unable to approve the plan: the key belongs to ben, ben.second\n\
               hint: say with --as PRINCIPAL who you are";
    team.refused(team.approve("ben", 3, &[]), ask).await;
    team.approve("ben", 3, &["--as", "ben"]).exits(0);
    let why = "signed with the key of 'ben', whose approval counts already";
    let error = format!(
        "error: unable to approve the plan: 'ben.second' {why}\n\
         hint: a plan is approved by others than its author, each with a valid key of their own"
    );
    team.refused(team.approve("ben", 3, &["--as", "ben.second"]), &error).await;
    team.put("ben.second", &armoured(&signed(2, "reinstate-plan", &hash)));
    let error = format!(
        "error: unable to apply the plan: it needs 2 approvals by others than its author 'anna', and has 1, by 'ben'; \
         not counted: 'ben.second' {why}\n{HINT}"
    );
    team.refused(team.world.apply(3), &error).await;
}

#[tokio::test]
async fn a_wrong_key_does_not_count() {
    let team = Team::new().await;
    let hash = team.plan(1);
    let unknown = fingerprint(4);
    let error = format!(
        "error: unable to approve the plan: key {unknown} is not in 'allowed_signers'\n\
         hint: whoever looks after that file must add you and your public key"
    );
    team.refused(team.approve("dora", 1, &[]), &error).await;
    let error = "error: unable to approve the plan: 'carl' is not whose key this is: it belongs to ben";
    team.refused(team.approve("ben", 1, &["--as", "carl"]), error).await;

    let by = |seed| armoured(&signed(seed, "reinstate-plan", &hash));
    for name in ["dora", "ben"] {
        team.put(name, &by(4));
        team.not_counted(name, &format!("signed with the unknown key {unknown}")).await;
    }
    team.put("carl", &by(2));
    team.not_counted("carl", "signed with the key of 'ben'").await;
    team.put("zoe", &by(2));
    team.not_counted("zoe", "signed with the key of 'ben'").await;
}

#[tokio::test]
async fn a_key_counts_for_plans_and_in_its_time_only() {
    let team = Team::new().await;
    let lines =
        |options: &str| format!("anna {}\nben {options} {}\ncarl {}\n", public(1), public(2), public(3));
    team.plan(1);
    team.approve("ben", 1, &[]).exits(0);
    let kept = team.world.read("plan.approvals/ben.sig");
    for (options, why) in [
        ("valid-before=\"20200101Z\"", "signed with a key that is not valid after 2020-01-01T00:00:00Z"),
        ("valid-after=\"29990101Z\"", "signed with a key that is not valid before 2999-01-01T00:00:00Z"),
        ("namespaces=\"git\"", "signed with a key that is not for namespace 'reinstate-plan'"),
    ] {
        team.world.write("allowed_signers", &lines(options));
        team.rules(&RULES.replace(", { from = 3, count = 2 }", ""));
        let error = format!(
            "error: unable to approve the plan: 'ben' {why}\n\
             hint: a plan is approved by others than its author, each with a valid key of their own"
        );
        team.forget();
        team.refused(team.approve("ben", 1, &[]), &error).await;
        team.put("ben", &kept);
        team.not_counted("ben", why).await;
    }
    team.world
        .write("allowed_signers", &lines("namespaces=\"git,reinstate-plan\",valid-after=\"20200101Z\""));
    team.put("ben", &kept);
    team.world.apply(1).exits(0);
}

#[tokio::test]
async fn a_forged_signature_does_not_count() {
    let team = Team::new().await;
    let hash = team.plan(1);
    let good = signed(2, "reinstate-plan", &hash);
    let mut bytes = good.signature_bytes().to_vec();
    bytes[40] ^= 1;
    let forged = Signature::new(good.algorithm(), bytes).expect("signature");
    let forged = SshSig::new(good.public_key().clone(), "reinstate-plan", HashAlg::Sha512, forged);
    team.put("ben", &armoured(&forged.expect("signature")));
    team.not_counted("ben", NOT_THIS).await;
    // Carl's signature under Ben's key.
    let carls = signed(3, "reinstate-plan", &hash).signature().clone();
    let swapped = SshSig::new(good.public_key().clone(), "reinstate-plan", HashAlg::Sha512, carls);
    team.put("ben", &armoured(&swapped.expect("signature")));
    team.not_counted("ben", NOT_THIS).await;
    team.put("ben", &armoured(&signed(2, "reinstate-plan", &format!("{hash}\n"))));
    team.not_counted("ben", NOT_THIS).await;
    // What Ben signed for git, also where the label is changed to that of plans.
    let commit = signed(2, "git", &hash);
    team.put("ben", &armoured(&commit));
    team.not_counted("ben", "signed for namespace 'git', not for 'reinstate-plan'").await;
    let relabelled = commit.signature().clone();
    let relabelled = SshSig::new(good.public_key().clone(), "reinstate-plan", HashAlg::Sha512, relabelled);
    team.put("ben", &armoured(&relabelled.expect("signature")));
    team.not_counted("ben", NOT_THIS).await;
    let (text, large) = (armoured(&good), "x".repeat(100_000));
    for damaged in ["", "approved, Ben", &text[..text.len() / 2], large.as_str()] {
        team.put("ben", damaged);
        team.not_counted("ben", "gave no OpenSSH signature").await;
    }
}

#[tokio::test]
async fn an_approval_is_for_one_plan() {
    let team = Team::new().await;
    team.plan(1);
    team.approve("ben", 1, &[]).exits(0);
    // A plan made anew, for the same tenant.
    team.plan(1);
    team.not_counted("ben", NOT_THIS).await;
    // The approved plan, changed, without and with a hash that is right again.
    team.approve("ben", 1, &[]).exits(0);
    let kept = team.world.read("plan.approvals/ben.sig");
    let mut changed = team.plan_json();
    changed["reason"] = "another".into();
    team.world.write("plan.json", &changed.to_string());
    let error = "error: unable to trust plan 'plan.json': it was changed after the dry run\n\
                 hint: make the plan again with `reinstate plan`";
    team.refused(team.world.apply(1), error).await;
    changed["hash"] = document_hash(&changed, "hash").into();
    team.world.write("plan.json", &changed.to_string());
    team.not_counted("ben", NOT_THIS).await;
    // A plan that says it needs none, or has another author.
    changed.as_object_mut().expect("fields").remove("approvals_min");
    changed["author"] = "carl".into();
    changed["hash"] = document_hash(&changed, "hash").into();
    team.world.write("plan.json", &changed.to_string());
    team.put("ben", &kept);
    let error = format!(
        "error: unable to apply the plan: it needs 1 approval by others than its author 'carl', and has none; \
         not counted: 'ben' {NOT_THIS}\n{HINT}"
    );
    team.refused(team.world.apply(1), &error).await;
}

#[tokio::test]
async fn a_configuration_can_ask_for_more_and_never_for_less() {
    let team = Team::new().await;
    team.plan(3);
    team.approve("ben", 3, &[]).exits(0);
    let needs_two = format!(
        "error: unable to apply the plan: it needs 2 approvals by others than its author 'anna', and has 1, by 'ben'\n{HINT}"
    );
    team.rules(&RULES.replace(", { from = 3, count = 2 }", ""));
    team.refused(team.world.apply(3), &needs_two).await;
    team.rules("");
    let error = "error: unable to apply the plan: it needs 2 approvals, but the configuration has no [approvals]\n\
                 hint: bring back the [approvals] that the plan was made with";
    team.refused(team.world.apply(3), error).await;
    // Made while nobody asked for approvals.
    team.forget();
    team.plan(1);
    assert_eq!(team.plan_json().get("approvals_min"), None);
    team.rules(
        "\n[approvals]\nallowed_signers = \"allowed_signers\"\nrequired = [{ from = 1, count = 2 }]\n",
    );
    team.approve("ben", 1, &[]).exits(0);
    team.refused(team.world.apply(1), &needs_two).await;
    team.approve("carl", 1, &[]).exits(0);
    team.world.apply(1).exits(0);
}

#[tokio::test]
async fn somebody_must_be_able_to_approve() {
    let team = Team::new().await;
    let error = "error: unable to plan: the author 'zoe' is no principal of 'allowed_signers', so that nobody could tell \
                 who else must approve\nhint: make the plan with --author PRINCIPAL, or set REINSTATE_USER";
    team.refused(team.plan_by("zoe", 1), error).await;
    let mut command = team.world.command(&["plan", "--tenants", "tenants.txt", "-o", "plan.json"]);
    command.env("USER", "anna").env("REINSTATE_USER", "zoe");
    team.refused(output(command), error).await;
    let error = "error: unable to plan: it needs 2 approvals, but 'allowed_signers' has the keys of 1 besides the author 'anna'\n\
                 hint: add the keys of those who are to approve";
    team.world.write("allowed_signers", &format!("anna {}\nben {}\n", public(1), public(2)));
    team.refused(team.plan_by("anna", 3), error).await;
    assert!(!team.world.path("plan.json").exists(), "no plan was written");
    let mut command = team.world.command(&["plan", "--tenants", "tenants.txt", "-o", "plan.json"]);
    team.world.list(&tenants()[..1]);
    command.env("USER", "anna");
    output(command).exits(0);
    assert_eq!(team.plan_json()["author"], "anna");
}

#[tokio::test]
async fn approving_takes_the_number_of_tenants_and_is_done_once() {
    let team = Team::new().await;
    team.plan(1);
    let error = "error: unable to approve the plan: it holds 1 tenants, but 2 were confirmed\n\
                 hint: read the plan again; confirm with the number of tenants it shows";
    team.refused(team.approve("ben", 2, &[]), error).await;
    let error = "error: unable to approve the plan: its 1 tenants were not confirmed\n\
                 hint: add --confirm 1 where no terminal can ask";
    team.refused(team.world.run(&["approve", "plan.json", "--key", "ben.key"]), error).await;
    team.approve("ben", 1, &[]).exits(0);
    let error = "error: unable to approve the plan: 'plan.approvals/ben.sig' exists already\n\
                 hint: an approval is never written over; remove the file if it was of an earlier plan";
    team.refused(team.approve("ben", 1, &[]), error).await;
    let run = team.approve("allowed_signers", 1, &[]).exits(2);
    assert!(
        run.error().starts_with("error: unable to read key 'allowed_signers.key': No such file"),
        "{}",
        run.error()
    );
    team.rules("");
    let error = "error: unable to approve the plan: the configuration has no [approvals]\n\
                 hint: `reinstate approve --help` shows what belongs there";
    assert_eq!(team.approve("carl", 1, &[]).exits(2).error(), error);
}

#[tokio::test]
async fn a_repair_needs_approvals_too() {
    let team = Team::new().await;
    team.world.list(&tenants()[..1]);
    let plan = ["repair", "plan", "--tenants", "tenants.txt", "-o", "plan.json", "--author", "anna"];
    team.world.run(&plan).exits(0);
    let apply = ["repair", "apply", "plan.json", "--confirm", "1"];
    let error = format!(
        "error: unable to apply the plan: it needs 1 approval by others than its author 'anna', and has none\n{HINT}"
    );
    team.refused(team.world.run(&apply), &error).await;
    team.approve("ben", 1, &[]).exits(0);
    team.world.run(&apply).exits(0);
}

#[tokio::test]
async fn wrong_rules_are_found_when_the_configuration_is_read() {
    let team = Team::new().await;
    let status = |rules: &str| {
        team.rules(rules);
        team.plan_by("anna", 1).exits(2).error()
    };
    let lines = team.world.read("reinstate.toml").lines().count();
    assert_eq!(
        status(&RULES.replace("required", "require")),
        format!(
            "error: unable to read configuration 'reinstate.toml' line {lines}: unknown field `require`, expected `allowed_signers` or `required`\n\
             hint: `reinstate init --help` shows the format"
        )
    );
    assert_eq!(
        status(&RULES.replace("\"allowed_signers\"", "\"nobody\"")),
        "error: unable to read allowed signers 'nobody': No such file or directory (os error 2)\n\
         hint: approvals.allowed_signers names a file as ssh-keygen(1) describes it, seen from the configuration"
    );
    assert_eq!(
        status(&RULES.replace("count = 2", "count = 5")),
        "error: unable to use the approvals of the configuration: 5 approvals are needed from 3 tenants on, \
         but the keys of 3 allowed signers can give one\n\
         hint: required = [{ from = 11, count = 1 }]: from how many tenants on how many approvals"
    );
    team.signers("*@example.net ssh-ed25519 AAAA\n");
    assert_eq!(
        status(RULES),
        "error: unable to use allowed signers 'allowed_signers' line 5: \
         '*@example.net' is a pattern; only plain names are supported\n\
         hint: PRINCIPAL[,PRINCIPAL] [namespaces=\"…\",valid-after=\"…\",valid-before=\"…\"] KEY"
    );
    assert_eq!(team.world.dump().await, team.before, "nothing was written");
}

#[tokio::test]
async fn openssh_makes_and_checks_approvals() {
    let team = Team::new().await;
    let keygen = |args: &[&str], input: &str| {
        team.world.write("input", input);
        let mut command = Command::new("ssh-keygen");
        let input = std::fs::File::open(team.world.path("input")).expect("input");
        command.args(args).current_dir(team.world.path("")).stdin(input);
        output(command).exits(0)
    };
    keygen(&["-q", "-t", "ed25519", "-N", "open sesame", "-f", "dora.ssh", "-C", "Dora's laptop"], "");
    keygen(&["-q", "-t", "ed25519", "-N", "", "-f", "emil.ssh"], "");
    let line = |name: &str| {
        format!(
            "{name}@example.net namespaces=\"reinstate-plan\" {}",
            team.world.read(&format!("{name}.ssh.pub"))
        )
    };
    team.signers(&format!("{}{}", line("dora"), line("emil")));
    let hash = team.plan(3);

    let approve = ["approve", "plan.json", "--key", "dora.ssh", "--confirm", "3"];
    let error = "error: unable to decrypt key 'dora.ssh': there is no passphrase\n\
                 hint: set REINSTATE_KEY_PASSPHRASE where no terminal can ask";
    assert_eq!(team.world.run(&approve).exits(2).error(), error);
    let with = |passphrase: &str| {
        let mut command = team.world.command(&approve);
        command.env("REINSTATE_KEY_PASSPHRASE", passphrase);
        output(command)
    };
    let error = "error: unable to decrypt key 'dora.ssh': the passphrase is wrong";
    assert_eq!(with("shut sesame").exits(2).error(), error);
    with("open sesame").exits(0);
    let signature = "plan.approvals/dora@example.net.sig";
    let identity =
        ["-Y", "verify", "-f", "allowed_signers", "-I", "dora@example.net", "-n", "reinstate-plan"];
    let verified = keygen(&[&identity[..], &["-s", signature]].concat(), &hash);
    assert!(
        verified.stdout.starts_with("Good \"reinstate-plan\" signature for dora@example.net"),
        "{}",
        verified.stdout
    );

    let made = keygen(&["-q", "-Y", "sign", "-f", "emil.ssh", "-n", "reinstate-plan"], &hash);
    team.put("emil@example.net", &made.stdout);
    team.world.apply(3).exits(0);
    assert_eq!(team.world.dump().await, team.whole, "all three are back");
    let log = team.world.read("reinstate.audit.jsonl");
    let applied = log.lines().find(|line| line.contains(r#""what":"apply""#)).expect("the log tells of it");
    for approver in ["dora", "emil"] {
        assert!(
            applied.contains(&format!(r#"{{"principal":"{approver}@example.net","key":"SHA256:"#)),
            "{applied}"
        );
    }
}
