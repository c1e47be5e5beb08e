// The command line: its commands, its options, and the handling of errors.

import yargs from "yargs";
import { Client, version } from "./client.js";
import * as audit from "./commands/audit.js";
import * as catalog from "./commands/catalog.js";
import * as credentials from "./commands/credentials.js";
import * as domain from "./commands/domain.js";
import { explain } from "./commands/explain.js";
import * as job from "./commands/job.js";
import * as licence from "./commands/licence.js";
import * as offline from "./commands/offline.js";
import * as override from "./commands/override.js";
import * as plan from "./commands/plan.js";
import * as deploy from "./commands/deploy.js";
import * as project from "./commands/project.js";
import * as publication from "./commands/publish.js";
import * as tenant from "./commands/tenant.js";
import { usage } from "./commands/usage.js";
import { EXIT, Failure, hide, wrongUsage } from "./failure.js";
import { flag, text } from "./options.js";
import { Output, report } from "./output.js";

export const COMMANDS = [
  ...project.commands, ...deploy.commands, ...offline.commands, plan.group, catalog.group, catalog.features, tenant.group, override.group, override.expiring, explain, usage, audit.group, audit.denials,
  publication.publish, publication.status, credentials.tokens, credentials.keys, domain.group, licence.group, job.group,
];

export const EPILOGUE = "Exit codes: 0 it is done, 1 the answer is no or there are problems, 2 wrong usage, 3 nobody can be reached.";

/** Options of every command. */
export const GENERAL = {
  url: text("The deployment's address; by default TENANTGATE_URL."),
  token: text("The operator's token, or an admin token; by default TENANTGATE_TOKEN."),
  json: flag("Print JSON only."),
};

/**
 * The environment of a running command: its arguments, its output, and the client of the
 * deployment.
 */
class Command {
  #client;

  constructor(argv) {
    this.argv = argv;
    this.out = new Output(argv);
  }

  /** The client, created on first use: offline commands need neither an address nor a token. */
  get client() {
    return (this.#client ??= new Client(this.argv));
  }
}

/** The yargs module of a command or a group of commands. `state.code`: the exit code. */
function module(spec, state) {
  const { command, describe } = spec;
  if (spec.commands) {
    const builder = (parser) => parser.command(spec.commands.map((one) => module(one, state))).demandCommand(1, MISSING_COMMAND);
    return { command, describe, builder, handler() {} };
  }
  const builder = (parser) => {
    for (const [name, describe] of Object.entries(spec.positionals ?? {})) parser.positional(name, { type: "string", describe });
    return parser.options(spec.options ?? {});
  };
  const handler = async (argv) => {
    state.code = (await spec.run(new Command(argv))) ?? EXIT.done;
  };
  return { command, describe, builder, handler };
}

const MISSING_COMMAND = "the command is missing";

function parser(args, state) {
  return yargs(args)
    .scriptName("tenantgate")
    .usage("$0 <command>\n\nOperates a deployment of tenantgate.")
    .parserConfiguration({
      "dot-notation": false, "parse-numbers": false, "parse-positional-numbers": false, "boolean-negation": false, "greedy-arrays": false,
    })
    .detectLocale(false)
    .options(GENERAL)
    .command(COMMANDS.map((spec) => module(spec, state)))
    .completion("completion", "Print the completion script for the shell.")
    .demandCommand(1, MISSING_COMMAND)
    .strict()
    .version("version", "Print the version.", version)
    .help("help", "Show help for a command.")
    .alias("help", "h")
    .epilogue(EPILOGUE)
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .exitProcess(false)
    .fail((message, error) => {
      // yargs reports invalid arguments without an error, or with a `YError`.
      throw error && error.name !== "YError" ? error : refused(error?.message ?? message, args);
    });
}

/** Hides the tokens in the arguments and the environment, before any message can contain them. */
function hideTokens(args) {
  hide(process.env.TENANTGATE_TOKEN);
  for (const [index, arg] of args.entries()) {
    if (arg === "--token") hide(args[index + 1]);
    if (arg.startsWith("--token=")) hide(arg.slice("--token=".length));
  }
}

/**
 * The failure for invalid arguments. Repeats unknown options, but not other unknown words, which
 * may be parts of a secret.
 */
function refused(message, args) {
  const words = /^Unknown (?:argument|command)s?: (.*)$/s.exec(message)?.[1].split(", ");
  const options = args.filter((arg) => arg.startsWith("-")).map((arg) => arg.split("=")[0]);
  const unknown = options.filter((option) => words?.includes(option.replace(/^--?/, "")));
  const named = unknown.length ? `unknown option: ${unknown.join(", ")}` : "unknown command, or too many arguments";
  return Object.assign(wrongUsage(words ? named : message.replace(/\s*\n\s*/g, " ")), { hint: "Run `tenantgate --help` for help." });
}

/** The failure for an unexpected error. */
const unforeseen = (error) => new Failure(`unexpected error: ${error?.message ?? error}`, { code: "UNEXPECTED" });

/**
 * Runs a command line.
 * @param {string[]} args the arguments after the program's name
 * @returns {Promise<number>} the exit code
 */
export async function run(args) {
  // The reader of a pipe may close it early, as `head` does.
  process.stdout.on("error", (error) => process.exit(error.code === "EPIPE" ? EXIT.done : EXIT.no));
  hideTokens(args);
  const state = { code: EXIT.done };
  try {
    await parser(args, state).parseAsync();
    return state.code;
  } catch (error) {
    const failure = error instanceof Failure ? error : unforeseen(error);
    report(failure, args.includes("--json"));
    return failure.exit;
  }
}
