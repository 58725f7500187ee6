//! What others are given of an agent's keys, and what is taken of theirs: by an authority's word, or
//! by a fingerprint that their owner tells.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use sealwire::agents::{KeyError, KeyStore, RevokedAgents, read_vouched, vouch};
use sealwire::revocations::{ListFiles, revoked};
use sealwire_audit::ChangeKind;
use sealwire_envelope::Bundle;
use sealwire_identity::{Revocations, SigningKey, files, parse_pem_certificates};
use sealwire_names::AgentId;

use super::{ExportArguments, ImportArguments, Keys, VouchArguments, own_agent};
use crate::cli::{Failure, print};
use crate::commands::issuing::open_authority;
use crate::control::note;

impl Keys {
    pub(super) fn export(&self, arguments: &ExportArguments) -> Result<(), Failure> {
        let agent = own_agent(&self.config, &arguments.agent)?;
        let mut text = self.store.export(agent)?;
        let bundle = KeyStore::parse_bundle(text.as_bytes(), Path::new("the bundle"))?;
        // Beside the bundle, not in it: what travels with it could be changed with it.
        let mut told = format!("the fingerprint of {agent} is {}\n", bundle.fingerprint());
        if self.config.layout().has_authority() {
            text = self.vouched(text.as_bytes(), Path::new("the bundle"), &bundle)?;
            told.push_str(&format!(
                "the authority of {} vouches for it: who trusts that needs no fingerprint\n",
                self.config.trust_domain
            ));
        }
        write(arguments.out.as_deref(), &text)?;
        let _nobody_reads = std::io::stderr().write_all(told.as_bytes());
        Ok(())
    }

    pub(super) fn vouch(&self, arguments: &VouchArguments) -> Result<(), Failure> {
        let VouchArguments { file, fingerprint, agent, out } = arguments;
        let content = files::read_public(file)?;
        let bundle = KeyStore::parse_bundle(&content, file)?;
        let told = (fingerprint.as_deref(), agent.as_deref());
        let given = told_fingerprint(&bundle, file, told, None)?;
        if !bundle.fingerprint().is_fingerprint(&given) {
            return Err(KeyError::Fingerprint { agent: bundle.agent }.into());
        }
        if bundle.not_after <= self.now {
            let (agent, at) = (bundle.agent, bundle.not_after);
            return Err(KeyError::Expired { agent, at }.into());
        }
        let text = self.vouched(&content, file, &bundle)?;
        write(out.as_deref(), &text)
    }

    /// A bundle with the word of this home's authority, which does not vouch for what is revoked.
    fn vouched(&self, content: &[u8], file: &Path, bundle: &Bundle) -> Result<String, Failure> {
        RevokedAgents::of(&self.config)?.check(bundle)?;
        let authority = open_authority(&self.config)?;
        let text = vouch(content, file, authority.authority(), self.now)?;
        let (agent, fingerprint) = (&bundle.agent, bundle.fingerprint());
        let detail = format!("the authority vouches for number {}, {fingerprint}", bundle.number);
        note(&self.config, ChangeKind::KeyChanged, agent, &detail);
        Ok(text)
    }

    pub(super) fn import(&self, arguments: &ImportArguments) -> Result<(), Failure> {
        let file = &arguments.file;
        let content = files::read_public(file)?;
        // What holds a private key is not what one takes from others.
        if String::from_utf8_lossy(&content).contains("PRIVATE KEY-----") {
            return self.import_private(arguments);
        }
        let bundle = KeyStore::parse_bundle(&content, file)?;
        if arguments.agent.as_ref().is_some_and(|name| name != bundle.agent.as_str()) {
            return Err(other_agent(&bundle, file));
        }
        RevokedAgents::of(&self.config)?.check(&bundle)?;
        let own = &self.config.agent_security.agents;
        let (given, name) = (arguments.fingerprint.as_deref(), arguments.agent.as_deref());
        let mut why_not = None;
        if given.is_none() {
            match self.import_vouched(file, own)? {
                Ok(bundle) => return self.tell("imported", &[bundle], arguments.json, ""),
                Err(reason) => why_not = reason,
            }
        }
        let fingerprint = told_fingerprint(&bundle, file, (given, name), why_not.as_deref())?;
        let bundle = self.store.import(file, &fingerprint, own, self.now)?;
        self.tell("imported", &[bundle], arguments.json, "")
    }

    /// Takes a bundle for which an authority vouches that is trusted here. If none does, why what
    /// it says does not count, where there is any such thing: its owner can still be asked.
    fn import_vouched(
        &self,
        file: &Path,
        own: &[AgentId],
    ) -> Result<Result<Bundle, Option<String>>, Failure> {
        let anchors = files::read_public(&self.config.ca_cert)
            .ok()
            .and_then(|pem| parse_pem_certificates(&pem).ok())
            .unwrap_or_default();
        let lists = ListFiles::of(&self.config).load(self.now)?;
        let revocations = Revocations::new(revoked(&self.config.layout())?).with_lists(lists);
        let believed = (&anchors[..], &self.config.trust_domain, &revocations);
        let content = files::read_public(file)?;
        Ok(match read_vouched(&content, file, believed, self.now)?.1 {
            None => Err(None),
            Some(Err(reason)) => Err(Some(reason)),
            Some(Ok(())) => Ok(self.store.import_vouched(file, believed, own, self.now)?),
        })
    }

    fn import_private(&self, arguments: &ImportArguments) -> Result<(), Failure> {
        let file = &arguments.file;
        let Some(name) = &arguments.agent else {
            return Err(Failure::usage("the file holds a private key, and --agent is missing")
                .at(file.display())
                .fix("say whose signing key it is to be with --agent NAME"));
        };
        if arguments.fingerprint.is_some() {
            return Err(Failure::usage("--fingerprint is for bundles of others")
                .fix("leave it out: a private key is not vouched for"));
        }
        let agent = own_agent(&self.config, name)?;
        let signing = Some(SigningKey::load(file).map_err(KeyError::from)?);
        let bundle = if self.store.has(agent) {
            self.store.rotate(agent, signing, self.counting_from(agent)?)?
        } else {
            self.store.create(agent, signing, self.counting_from(agent)?)?
        };
        self.tell("imported", &[bundle], arguments.json, "")
    }
}

/// Writes to that file, or to standard output.
fn write(file: Option<&Path>, text: &str) -> Result<(), Failure> {
    match file {
        Some(file) => Ok(files::write_atomic(file, text.as_bytes(), files::PUBLIC_FILE)?),
        None => print(text),
    }
}

/// The fingerprint that was told: given with `--fingerprint`, or asked for; then `why_not` says why
/// the authority's word does not do.
fn told_fingerprint(
    bundle: &Bundle,
    file: &Path,
    (given, name): (Option<&str>, Option<&str>),
    why_not: Option<&str>,
) -> Result<String, Failure> {
    let agent = &bundle.agent;
    if name.is_some_and(|name| name != agent.as_str()) {
        return Err(other_agent(bundle, file));
    }
    match given {
        // The fingerprint is of a key. Whose key it is would be said by the file alone.
        Some(_) if name.is_none() => Err(Failure::usage(format!(
            "it says that it is the bundle of {agent}, and --agent is missing"
        ))
        .at(file.display())
        .fix("say with --agent NAME whose fingerprint you were told")),
        Some(given) => Ok(given.to_owned()),
        None => ask_for_fingerprint(bundle, file, why_not),
    }
}

fn other_agent(bundle: &Bundle, file: &Path) -> Failure {
    Failure::new(format!("it is the bundle of {}", bundle.agent))
        .at(file.display())
        .fix("name the file of the agent that is meant")
}

/// The fingerprint as its owner has told it. It is not shown here: whoever only had to agree
/// would agree.
fn ask_for_fingerprint(
    bundle: &Bundle,
    file: &Path,
    why_not: Option<&str>,
) -> Result<String, Failure> {
    let missing = || {
        let missing = Failure::usage(format!("the fingerprint of {} is missing", bundle.agent))
            .at(file.display())
            .fix(
                "have its owner read out what `sealwire key list` shows there, by telephone for \
                 instance, and give it with --fingerprint",
            );
        match why_not {
            Some(reason) => missing.because(reason),
            None => missing,
        }
    };
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(missing());
    }
    let why_not = why_not.map(|reason| format!("{reason}\n")).unwrap_or_default();
    let question = format!(
        "{why_not}This says that it is the bundle of {}. Type the fingerprint as its owner tells it: ",
        bundle.agent
    );
    let mut given = String::new();
    let asked = std::io::stderr().write_all(question.as_bytes());
    match asked.and_then(|()| stdin.lock().read_line(&mut given)) {
        Ok(length) if length > 0 => Ok(given),
        _ => Err(missing()),
    }
}
