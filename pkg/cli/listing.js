// Commands that print a list of the admin API.

import { more, paging } from "./options.js";

/**
 * Makes a command that prints one page of a list, or all pages, as a table.
 * @param {object} spec the command, and:
 *   - `at`: returns the path of the list;
 *   - `query`: returns further query parameters, if any;
 *   - `head`, `row`: the table's head, and its row for an item;
 *   - `none`: the text for an empty list;
 *   - `options`: options in addition to those for paging.
 */
export const listing = ({ at, query, head, row, none, options, ...command }) => ({
  ...command,
  options: { ...options, ...paging },
  async run({ argv, client, out }) {
    const page = await client.list(at(argv), argv, query?.(argv));
    out.result(page, () => {
      out.table(head, page.items.map(row), none);
      more(out, page);
    });
  },
});
